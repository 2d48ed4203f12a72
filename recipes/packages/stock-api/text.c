#include "text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(struct text *text)
{
	free(text->bytes);
	*text = (struct text){ 0 };
}

/* Makes room for `more` bytes and a terminating zero. */
static bool reserve(struct text *text, size_t more)
{
	size_t room = text->room ? text->room : 256;
	char *bytes;

	if (text->failed || more > SIZE_MAX / 4 - text->length) {
		text->failed = true;
		return false;
	}
	while (room < text->length + more + 1)
		room *= 2;
	if (room == text->room)
		return true;
	bytes = realloc(text->bytes, room);
	if (bytes == NULL) {
		text->failed = true;
		return false;
	}
	text->bytes = bytes;
	text->room = room;
	return true;
}

void text_add(struct text *text, const char *bytes, size_t length)
{
	if (!reserve(text, length))
		return;
	if (length > 0)
		memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	text->bytes[text->length] = '\0';
}

void text_print(struct text *text, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length < 0 || !reserve(text, (size_t)length)) {
		text->failed = true;
		return;
	}
	va_start(arguments, format);
	vsnprintf(text->bytes + text->length, (size_t)length + 1, format, arguments);
	va_end(arguments);
	text->length += (size_t)length;
}

void text_json(struct text *text, const char *string)
{
	text_add(text, "\"", 1);
	for (; *string != '\0'; string++) {
		unsigned char c = (unsigned char)*string;

		if (c == '"' || c == '\\')
			text_print(text, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			text_print(text, "\\u%04x", c);
		else
			text_add(text, string, 1);
	}
	text_add(text, "\"", 1);
}
