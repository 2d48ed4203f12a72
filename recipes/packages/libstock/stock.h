/* libstock: reads the shop's stock file and answers questions about it. */
#ifndef STOCK_H
#define STOCK_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stock;

/* One line of the stock file. The strings are UTF-8 and live as long as the stock they came from. */
struct stock_item {
	const char *sku;      /* lower case letters, digits and '-' */
	const char *name;     /* what the customer sees */
	unsigned quantity;    /* how many are on the shelf */
	unsigned reorder_at;  /* at this quantity, or below it, the item is low */
};

/*
 * Loads a stock file. Returns NULL on failure, with the reason in `reason` (cut to `reason_size` bytes, with its
 * terminating zero). The result is to be released with stock_free().
 */
struct stock *stock_load(const char *path, char *reason, size_t reason_size);
void stock_free(struct stock *stock);

/* The items are sorted by sku. stock_item_at() returns NULL beyond the last, stock_find() when there is no such sku. */
size_t stock_count(const struct stock *stock);
const struct stock_item *stock_item_at(const struct stock *stock, size_t index);
const struct stock_item *stock_find(const struct stock *stock, const char *sku);

bool stock_item_is_low(const struct stock_item *item);

/* The version of the library that is running, which may be newer than the one compiled against. */
const char *stock_version(void);

#ifdef __cplusplus
}
#endif

#endif
