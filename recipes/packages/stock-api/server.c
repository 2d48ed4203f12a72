#define _GNU_SOURCE

#include "server.h"

#include "http.h"
#include "routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 64, HEAD_MAX = 4096, REQUEST_MS = 5000, CLOSE_MS = 1000, STOP_MS = 2000 };

enum state {
	FREE,
	READING,  /* the request's head */
	WRITING,  /* the response */
	CLOSING,  /* all is sent: the client reads it and closes; what it still sends is thrown away */
};

struct connection {
	enum state state;
	int fd;
	int64_t deadline;  /* in ms of the monotonic clock */
	char head[HEAD_MAX];
	size_t head_length;
	struct text response;
	size_t sent;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

int server_listen(unsigned short port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int yes = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0
	    || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0) {
		int reason = errno;

		close(fd);
		errno = reason;
		return -1;
	}
	return fd;
}

unsigned short server_port(int listener)
{
	struct sockaddr_in address = { 0 };
	socklen_t length = sizeof address;

	getsockname(listener, (struct sockaddr *)&address, &length);
	return ntohs(address.sin_port);
}

static void drop(struct connection *connection)
{
	close(connection->fd);
	text_free(&connection->response);
	connection->state = FREE;
}

static void take(struct connection *connection, int fd)
{
	connection->state = READING;
	connection->fd = fd;
	connection->deadline = now_ms() + REQUEST_MS;
	connection->head_length = 0;
	connection->sent = 0;
}

static void accept_into(struct connection *connections, int listener)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		int fd;

		if (connections[i].state != FREE)
			continue;
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		take(&connections[i], fd);
	}
}

static void send_response(struct connection *connection)
{
	while (connection->sent < connection->response.length) {
		ssize_t count = send(connection->fd, connection->response.bytes + connection->sent,
		                     connection->response.length - connection->sent, MSG_NOSIGNAL);

		if (count < 0) {
			if (!would_block())
				drop(connection);
			return;
		}
		connection->sent += (size_t)count;
	}
	/* A close() with unread input would reset the connection and could lose the response on its way. */
	shutdown(connection->fd, SHUT_WR);
	connection->state = CLOSING;
	connection->deadline = now_ms() + CLOSE_MS;
}

static void answer(struct connection *connection, const struct stock *stock, int status)
{
	struct http_request request = { .path = "-" };
	struct text body = { 0 };

	if (status == 200)
		status = http_parse(connection->head, connection->head_length, &request);
	if (status == 200)
		status = route(stock, request.path, &body);
	else
		http_error_body(&body, status);
	http_respond(&connection->response, status, &body, request.head_only);
	if (body.failed || connection->response.failed) {
		fprintf(stderr, "stock-api: out of memory\n");
		drop(connection);
	} else {
		fprintf(stderr, "stock-api: %d %s\n", status, request.path);
		connection->state = WRITING;
		connection->deadline = now_ms() + REQUEST_MS;
		send_response(connection);
	}
	text_free(&body);
}

static void receive(struct connection *connection, const struct stock *stock)
{
	ssize_t count = recv(connection->fd, connection->head + connection->head_length, HEAD_MAX - connection->head_length, 0);

	if (count == 0 || (count < 0 && !would_block())) {
		drop(connection);
		return;
	}
	if (count < 0)
		return;
	connection->head_length += (size_t)count;
	if (http_head_length(connection->head, connection->head_length) > 0)
		answer(connection, stock, 200);
	else if (connection->head_length == HEAD_MAX)
		answer(connection, stock, 431);
}

static void discard(struct connection *connection)
{
	ssize_t count = recv(connection->fd, connection->head, HEAD_MAX, 0);

	if (count == 0 || (count < 0 && !would_block()))
		drop(connection);
}

static void handle(struct connection *connection, const struct stock *stock)
{
	switch (connection->state) {
	case READING: receive(connection, stock); break;
	case WRITING: send_response(connection); break;
	case CLOSING: discard(connection); break;
	case FREE: break;
	}
}

static void expire(struct connection *connection, const struct stock *stock, int64_t now)
{
	if (connection->state == FREE || now < connection->deadline)
		return;
	if (connection->state == READING && connection->head_length > 0)
		answer(connection, stock, 408);
	else
		drop(connection);
}

/* Fills the poll set; returns how many connections are open. `*wait` becomes the time to the first deadline. */
static int prepare(const struct connection *connections, int listener, struct pollfd *set, int64_t *wait)
{
	int64_t now = now_ms();
	int open = 0;

	for (int i = 0; i < CONNECTIONS; i++) {
		const struct connection *connection = &connections[i];

		set[i] = (struct pollfd){ .fd = -1 };
		if (connection->state == FREE)
			continue;
		open++;
		set[i].fd = connection->fd;
		set[i].events = connection->state == WRITING ? POLLOUT : POLLIN;
		if (connection->deadline - now < *wait)
			*wait = connection->deadline > now ? connection->deadline - now : 0;
	}
	set[CONNECTIONS] = (struct pollfd){ .fd = open < CONNECTIONS ? listener : -1, .events = POLLIN };
	return open;
}

void server_run(int listener, const struct stock *stock, const volatile sig_atomic_t *stop, const sigset_t *wait_mask)
{
	static struct connection connections[CONNECTIONS];
	struct pollfd set[CONNECTIONS + 1];
	int64_t end = INT64_MAX;

	for (;;) {
		int64_t wait = 60000;
		struct timespec timeout;
		int64_t now;

		if (*stop && listener >= 0) {
			close(listener);
			listener = -1;
			end = now_ms() + STOP_MS;
		}
		if (prepare(connections, listener, set, &wait) == 0 && listener < 0)
			break;
		timeout = (struct timespec){ .tv_sec = wait / 1000, .tv_nsec = (wait % 1000) * 1000000 };
		if (ppoll(set, CONNECTIONS + 1, &timeout, wait_mask) < 0) {
			if (errno == EINTR)
				continue;
			perror("stock-api: poll");
			break;
		}
		for (int i = 0; i < CONNECTIONS; i++)
			if (set[i].revents != 0)
				handle(&connections[i], stock);
		now = now_ms();
		for (int i = 0; i < CONNECTIONS; i++)
			expire(&connections[i], stock, now);
		if (set[CONNECTIONS].revents != 0)
			accept_into(connections, listener);
		if (now >= end)
			break;
	}
	for (int i = 0; i < CONNECTIONS; i++)
		if (connections[i].state != FREE)
			drop(&connections[i]);
	if (listener >= 0)
		close(listener);
}
