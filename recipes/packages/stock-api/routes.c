#include "routes.h"

#include "http.h"

#include <string.h>
#include <unistd.h>

static void add_item(struct text *body, const struct stock_item *item)
{
	text_print(body, "{\"sku\":");
	text_json(body, item->sku);
	text_print(body, ",\"name\":");
	text_json(body, item->name);
	text_print(body, ",\"quantity\":%u,\"reorder_at\":%u,\"low\":%s}", item->quantity, item->reorder_at,
	           stock_item_is_low(item) ? "true" : "false");
}

static int items(const struct stock *stock, bool low_only, struct text *body)
{
	const struct stock_item *item;
	const char *comma = "";

	text_print(body, "{\"items\":[");
	for (size_t i = 0; (item = stock_item_at(stock, i)) != NULL; i++) {
		if (low_only && !stock_item_is_low(item))
			continue;
		text_print(body, "%s", comma);
		add_item(body, item);
		comma = ",";
	}
	text_print(body, "]}\n");
	return 200;
}

static int one_item(const struct stock *stock, const char *sku, struct text *body)
{
	const struct stock_item *item = stock_find(stock, sku);

	if (item == NULL) {
		http_error_body(body, 404);
		return 404;
	}
	add_item(body, item);
	text_print(body, "\n");
	return 200;
}

static int about(struct text *body)
{
	text_print(body, "{\"service\":\"stock-api\",\"version\":\"%s\",\"libstock\":", STOCK_API_VERSION);
	text_json(body, stock_version());
	text_print(body, ",\"user\":%u}\n", (unsigned)getuid());
	return 200;
}

int route(const struct stock *stock, const char *path, struct text *body)
{
	static const char item_prefix[] = "/v1/items/";

	if (strcmp(path, "/") == 0)
		return about(body);
	if (strcmp(path, "/healthz") == 0) {
		text_print(body, "{\"status\":\"ok\",\"items\":%zu}\n", stock_count(stock));
		return 200;
	}
	if (strcmp(path, "/v1/items") == 0)
		return items(stock, false, body);
	if (strcmp(path, "/v1/low") == 0)
		return items(stock, true, body);
	if (strncmp(path, item_prefix, strlen(item_prefix)) == 0)
		return one_item(stock, path + strlen(item_prefix), body);
	http_error_body(body, 404);
	return 404;
}
