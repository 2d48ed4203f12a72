/* The little of HTTP/1.1 that a read-only service behind a proxy needs: one GET or HEAD per connection. */
#ifndef HTTP_H
#define HTTP_H

#include "text.h"

#include <stdbool.h>
#include <stddef.h>

enum { HTTP_PATH_MAX = 256 };

struct http_request {
	bool head_only;
	char path[HTTP_PATH_MAX];  /* without the query; printable ASCII */
};

/* The length of the request's head with its empty line, or 0 while that has not arrived. */
size_t http_head_length(const char *bytes, size_t length);

/* Reads a complete head. Returns 200, or the status of the error to answer with. */
int http_parse(const char *head, size_t length, struct http_request *request);

/* Writes a whole response. `body` is left out for HEAD, its length is not. */
void http_respond(struct text *out, int status, const struct text *body, bool head_only);

/* A JSON body that states an error. */
void http_error_body(struct text *body, int status);

#endif
