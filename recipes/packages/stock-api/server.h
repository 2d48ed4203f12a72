/* One thread, one poll loop, a fixed number of connections, each with a deadline. */
#ifndef SERVER_H
#define SERVER_H

#include <signal.h>
#include <stock.h>

/* A listening, non-blocking socket on every IPv4 address; port 0 lets the system choose. Returns -1 with errno set. */
int server_listen(unsigned short port);
unsigned short server_port(int listener);

/*
 * Serves until `*stop` is set by a signal handler, then lets the open requests finish for a moment. The signals must be
 * blocked by the caller; they are let in while the loop waits, under `wait_mask`. Closes the listener.
 */
void server_run(int listener, const struct stock *stock, const volatile sig_atomic_t *stop, const sigset_t *wait_mask);

#endif
