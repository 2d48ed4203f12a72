/* A growing piece of text. A failed allocation is remembered and makes every later addition do nothing. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
	char *bytes;
	size_t length;
	size_t room;
	bool failed;
};

void text_free(struct text *text);
void text_add(struct text *text, const char *bytes, size_t length);

__attribute__((format(printf, 2, 3)))
void text_print(struct text *text, const char *format, ...);

/* Adds a JSON string with its quotes. The input is taken to be UTF-8. */
void text_json(struct text *text, const char *string);

#endif
