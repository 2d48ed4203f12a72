/*
 * stock-api: serves the stock file as JSON over HTTP.
 *
 * Environment: PORT (8080; 0 lets the system choose), STOCK_FILE (/etc/stock/items.stock).
 * SIGTERM and SIGINT end it with status 0, after the requests that are open.
 */
#define _GNU_SOURCE

#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

/* The signals stay blocked but while the server waits, so that none falls between its look at `stop` and its waiting. */
static void catch_signals(sigset_t *wait_mask)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t caught;

	sigemptyset(&action.sa_mask);
	sigemptyset(&caught);
	sigaddset(&caught, SIGTERM);
	sigaddset(&caught, SIGINT);
	sigprocmask(SIG_BLOCK, &caught, wait_mask);
	sigdelset(wait_mask, SIGTERM);
	sigdelset(wait_mask, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

static int read_port(const char *text, unsigned short *port)
{
	char *end;
	unsigned long value;

	if (text[0] < '0' || text[0] > '9')
		return -1;
	value = strtoul(text, &end, 10);
	if (*end != '\0' || value > 65535)
		return -1;
	*port = (unsigned short)value;
	return 0;
}

int main(void)
{
	const char *port_text = getenv("PORT");
	const char *path = getenv("STOCK_FILE");
	unsigned short port = 8080;
	char reason[512];
	sigset_t wait_mask;
	struct stock *stock;
	int listener;

	if (port_text != NULL && read_port(port_text, &port) < 0) {
		fprintf(stderr, "stock-api: PORT is not a port number: %s\n", port_text);
		return 2;
	}
	stock = stock_load(path != NULL ? path : "/etc/stock/items.stock", reason, sizeof reason);
	if (stock == NULL) {
		fprintf(stderr, "stock-api: %s\n", reason);
		return 1;
	}
	catch_signals(&wait_mask);
	listener = server_listen(port);
	if (listener < 0) {
		fprintf(stderr, "stock-api: cannot listen on port %u: %s\n", port, strerror(errno));
		stock_free(stock);
		return 1;
	}
	fprintf(stderr, "stock-api: listening on port %u\n", server_port(listener));
	server_run(listener, stock, &stop, &wait_mask);
	stock_free(stock);
	fprintf(stderr, "stock-api: stopped\n");
	return 0;
}
