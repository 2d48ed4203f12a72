/* Run by `make check`: what the parser takes and what it refuses. */
#include "http.h"

#include <stdio.h>
#include <string.h>

static int failures;

static void parses(const char *head, int status, const char *path)
{
	struct http_request request = { .path = "" };
	int got = http_parse(head, strlen(head), &request);

	if (got == status && (path == NULL || strcmp(request.path, path) == 0))
		return;
	fprintf(stderr, "test_http.c: %.40s: got %d %s, expected %d %s\n", head, got, request.path, status, path ? path : "");
	failures++;
}

static void escapes(const char *string, const char *expected)
{
	struct text text = { 0 };

	text_json(&text, string);
	if (text.failed || strcmp(text.bytes, expected) != 0) {
		fprintf(stderr, "test_http.c: got %s, expected %s\n", text.bytes, expected);
		failures++;
	}
	text_free(&text);
}

int main(void)
{
	char long_head[400];

	parses("GET / HTTP/1.1\r\n\r\n", 200, "/");
	parses("HEAD /v1/items?all=1 HTTP/1.0\r\nHost: x\r\n\r\n", 200, "/v1/items");
	parses("POST / HTTP/1.1\r\n\r\n", 405, NULL);
	parses("GET / HTTP/2.0\r\n\r\n", 505, NULL);
	parses("GET /\r\n\r\n", 400, NULL);
	parses("GET  / HTTP/1.1\r\n\r\n", 400, NULL);
	parses("GET / HTTP/1.1 more\r\n\r\n", 400, NULL);
	parses("GET x HTTP/1.1\r\n\r\n", 400, NULL);
	parses("GET /\x1b[2J HTTP/1.1\r\n\r\n", 400, NULL);
	parses("\r\n\r\n", 400, NULL);
	snprintf(long_head, sizeof long_head, "GET /%0300d HTTP/1.1\r\n\r\n", 0);
	parses(long_head, 414, NULL);

	escapes("Cr\303\250me", "\"Cr\303\250me\"");
	escapes("a\"b\\c\n", "\"a\\\"b\\\\c\\u000a\"");
	return failures != 0;
}
