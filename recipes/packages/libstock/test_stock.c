/* Run by `make check`. Each case writes a stock file and states what the library says of it. */
#define _POSIX_C_SOURCE 200809L

#include "stock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;

#define CHECK(condition) check(condition, #condition, __LINE__)

static void check(bool good, const char *text, int line)
{
	if (good)
		return;
	fprintf(stderr, "test_stock.c:%d: failed: %s\n", line, text);
	failures++;
}

static struct stock *load(const char *text, char *reason, size_t size)
{
	char path[] = "/tmp/stock-XXXXXX";
	int fd = mkstemp(path);
	struct stock *stock = NULL;

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		perror(path);
		exit(2);
	}
	close(fd);
	stock = stock_load(path, reason, size);
	unlink(path);
	return stock;
}

static void a_good_file_is_sorted_and_searched(void)
{
	char reason[200] = "";
	struct stock *stock = load("# a comment\n\ntea | Tea | 4 | 5\nbread | Rye bread | 9 | 3\n", reason, sizeof reason);

	CHECK(stock != NULL);
	if (stock == NULL)
		return;
	CHECK(stock_count(stock) == 2);
	CHECK(strcmp(stock_item_at(stock, 0)->sku, "bread") == 0);
	CHECK(stock_item_at(stock, 2) == NULL);
	CHECK(strcmp(stock_find(stock, "tea")->name, "Tea") == 0);
	CHECK(stock_find(stock, "coffee") == NULL);
	CHECK(stock_item_is_low(stock_find(stock, "tea")));
	CHECK(!stock_item_is_low(stock_find(stock, "bread")));
	stock_free(stock);
}

static void an_empty_file_is_an_empty_stock(void)
{
	char reason[200] = "";
	struct stock *stock = load("", reason, sizeof reason);

	CHECK(stock != NULL);
	if (stock == NULL)
		return;
	CHECK(stock_count(stock) == 0);
	CHECK(stock_find(stock, "tea") == NULL);
	stock_free(stock);
}

static void a_bad_line_is_named(const char *text, const char *expected)
{
	char reason[200] = "";
	struct stock *stock = load(text, reason, sizeof reason);

	CHECK(stock == NULL);
	CHECK(strstr(reason, expected) != NULL);
	stock_free(stock);
}

int main(void)
{
	a_good_file_is_sorted_and_searched();
	an_empty_file_is_an_empty_stock();
	a_bad_line_is_named("tea | Tea | 4 | 5\ntea\n", ":2: expected");
	a_bad_line_is_named("tea | Tea | 4 | 5 | 6\n", ":1: more than four");
	a_bad_line_is_named("Tea | Tea | 4 | 5\n", ":1: a sku");
	a_bad_line_is_named("tea | | 4 | 5\n", ":1: the name");
	a_bad_line_is_named("tea | Tea | -4 | 5\n", ":1: a quantity");
	a_bad_line_is_named("tea | Tea | 4 | 99999999999999999999\n", ":1: a quantity");
	a_bad_line_is_named("tea | Tea | 4 | 5\ntea | Tea | 4 | 5\n", "tea is there twice");
	CHECK(stock_load("/nowhere/at/all", NULL, 0) == NULL);
	return failures != 0;
}
