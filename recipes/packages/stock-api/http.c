#define _GNU_SOURCE

#include "http.h"

#include <string.h>

static const char *phrase(int status)
{
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 414: return "URI Too Long";
	case 431: return "Request Header Fields Too Large";
	case 505: return "HTTP Version Not Supported";
	default: return "Internal Server Error";
	}
}

size_t http_head_length(const char *bytes, size_t length)
{
	const char *end = memmem(bytes, length, "\r\n\r\n", 4);

	return end == NULL ? 0 : (size_t)(end - bytes) + 4;
}

/* The word up to `end` or a space; `*at` is moved behind it. */
static const char *next_word(const char **at, const char *end, size_t *length)
{
	const char *word = *at;
	const char *space = memchr(word, ' ', (size_t)(end - word));

	*length = (size_t)((space ? space : end) - word);
	*at = space ? space + 1 : end;
	return word;
}

static bool is_word(const char *word, size_t length, const char *expected)
{
	return length == strlen(expected) && memcmp(word, expected, length) == 0;
}

int http_parse(const char *head, size_t length, struct http_request *request)
{
	const char *end = memmem(head, length, "\r\n", 2);
	const char *at = head;
	size_t method_length, target_length, version_length;
	const char *method, *target, *version, *query;

	if (end == NULL)
		return 400;
	method = next_word(&at, end, &method_length);
	target = next_word(&at, end, &target_length);
	version = next_word(&at, end, &version_length);
	if (method_length == 0 || target_length == 0 || at != end)
		return 400;
	for (const char *c = head; c < end; c++)
		if (*c < 0x20 || *c > 0x7e)
			return 400;
	if (version_length < 5 || memcmp(version, "HTTP/", 5) != 0)
		return 400;
	if (!is_word(version, version_length, "HTTP/1.1") && !is_word(version, version_length, "HTTP/1.0"))
		return 505;
	request->head_only = is_word(method, method_length, "HEAD");
	if (!request->head_only && !is_word(method, method_length, "GET"))
		return 405;
	if (target[0] != '/')
		return 400;
	query = memchr(target, '?', target_length);
	if (query != NULL)
		target_length = (size_t)(query - target);
	if (target_length >= HTTP_PATH_MAX)
		return 414;
	memcpy(request->path, target, target_length);
	request->path[target_length] = '\0';
	return 200;
}

void http_respond(struct text *out, int status, const struct text *body, bool head_only)
{
	text_print(out, "HTTP/1.1 %d %s\r\n", status, phrase(status));
	text_print(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body->length);
	if (status == 405)
		text_print(out, "Allow: GET, HEAD\r\n");
	text_print(out, "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
	if (!head_only)
		text_add(out, body->bytes, body->length);
}

void http_error_body(struct text *body, int status)
{
	text_print(body, "{\"error\":");
	text_json(body, phrase(status));
	text_print(body, "}\n");
}
