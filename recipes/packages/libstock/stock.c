#define _GNU_SOURCE

#include "stock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define EXPORTED __attribute__((visibility("default")))

enum { FIELDS = 4, QUANTITY_MAX = 1000000 };

struct stock {
	struct stock_item *items;
	size_t count;
	size_t room;
};

__attribute__((format(printf, 3, 4)))
static void explain(char *reason, size_t size, const char *format, ...)
{
	va_list arguments;

	if (reason == NULL || size == 0)
		return;
	va_start(arguments, format);
	vsnprintf(reason, size, format, arguments);
	va_end(arguments);
}

static char *trimmed(char *text)
{
	char *end;

	text += strspn(text, " \t\r\n");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r\n", end[-1]) != NULL)
		end--;
	*end = '\0';
	return text;
}

static bool is_sku(const char *text)
{
	return *text != '\0' && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static bool read_quantity(const char *text, unsigned *quantity)
{
	char *end;
	unsigned long value;

	if (text[0] < '0' || text[0] > '9')  /* strtoul() would take a sign */
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || value > QUANTITY_MAX)
		return false;
	*quantity = (unsigned)value;
	return true;
}

/* Fills `item` with copies of a line's fields. Returns what is wrong with the line, or NULL. */
static const char *read_item(char *line, struct stock_item *item)
{
	char *fields[FIELDS];
	char *rest = line;
	unsigned quantity, reorder_at;

	for (int i = 0; i < FIELDS; i++) {
		char *field = strsep(&rest, "|");

		if (field == NULL)
			return "expected: sku | name | quantity | reorder at";
		fields[i] = trimmed(field);
	}
	if (rest != NULL)
		return "more than four fields";
	if (!is_sku(fields[0]))
		return "a sku has lower case letters, digits and '-' only";
	if (*fields[1] == '\0')
		return "the name is empty";
	if (!read_quantity(fields[2], &quantity) || !read_quantity(fields[3], &reorder_at))
		return "a quantity is a whole number from 0 to 1000000";

	char *sku = strdup(fields[0]);
	char *name = strdup(fields[1]);

	if (sku == NULL || name == NULL) {
		free(sku);
		free(name);
		return "out of memory";
	}
	*item = (struct stock_item){ sku, name, quantity, reorder_at };
	return NULL;
}

static bool make_room(struct stock *stock)
{
	size_t room = stock->room ? 2 * stock->room : 16;
	struct stock_item *items;

	if (stock->count < stock->room)
		return true;
	items = reallocarray(stock->items, room, sizeof *items);
	if (items == NULL)
		return false;
	stock->items = items;
	stock->room = room;
	return true;
}

static int by_sku(const void *left, const void *right)
{
	return strcmp(((const struct stock_item *)left)->sku, ((const struct stock_item *)right)->sku);
}

static bool read_all(struct stock *stock, FILE *file, const char *path, char *reason, size_t size)
{
	char *line = NULL;
	size_t line_room = 0;
	unsigned long number = 0;
	const char *wrong = NULL;

	while (wrong == NULL && getline(&line, &line_room, file) >= 0) {
		char *text = trimmed(line);

		number++;
		if (*text == '\0' || *text == '#')
			continue;
		if (!make_room(stock))
			wrong = "out of memory";
		else if ((wrong = read_item(text, &stock->items[stock->count])) == NULL)
			stock->count++;
	}
	if (wrong != NULL)
		explain(reason, size, "%s:%lu: %s", path, number, wrong);
	else if (ferror(file))
		explain(reason, size, "%s: %s", path, strerror(errno));
	else {
		free(line);
		return true;
	}
	free(line);
	return false;
}

static bool sort_items(struct stock *stock, const char *path, char *reason, size_t size)
{
	if (stock->count > 1)
		qsort(stock->items, stock->count, sizeof *stock->items, by_sku);
	for (size_t i = 1; i < stock->count; i++) {
		if (by_sku(&stock->items[i - 1], &stock->items[i]) == 0) {
			explain(reason, size, "%s: the sku %s is there twice", path, stock->items[i].sku);
			return false;
		}
	}
	return true;
}

EXPORTED struct stock *stock_load(const char *path, char *reason, size_t reason_size)
{
	struct stock *stock = calloc(1, sizeof *stock);
	FILE *file;
	bool good;

	if (stock == NULL) {
		explain(reason, reason_size, "out of memory");
		return NULL;
	}
	file = fopen(path, "re");
	if (file == NULL) {
		explain(reason, reason_size, "%s: %s", path, strerror(errno));
		free(stock);
		return NULL;
	}
	good = read_all(stock, file, path, reason, reason_size) && sort_items(stock, path, reason, reason_size);
	fclose(file);
	if (!good) {
		stock_free(stock);
		return NULL;
	}
	return stock;
}

EXPORTED void stock_free(struct stock *stock)
{
	if (stock == NULL)
		return;
	for (size_t i = 0; i < stock->count; i++) {
		free((char *)stock->items[i].sku);
		free((char *)stock->items[i].name);
	}
	free(stock->items);
	free(stock);
}

EXPORTED size_t stock_count(const struct stock *stock)
{
	return stock->count;
}

EXPORTED const struct stock_item *stock_item_at(const struct stock *stock, size_t index)
{
	return index < stock->count ? &stock->items[index] : NULL;
}

EXPORTED const struct stock_item *stock_find(const struct stock *stock, const char *sku)
{
	struct stock_item wanted = { .sku = sku };

	if (stock->count == 0)
		return NULL;
	return bsearch(&wanted, stock->items, stock->count, sizeof *stock->items, by_sku);
}

EXPORTED bool stock_item_is_low(const struct stock_item *item)
{
	return item->quantity <= item->reorder_at;
}

EXPORTED const char *stock_version(void)
{
	return STOCK_VERSION;
}
