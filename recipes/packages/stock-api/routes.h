/* What the service answers: path in, status and JSON out. */
#ifndef ROUTES_H
#define ROUTES_H

#include "text.h"

#include <stock.h>

/* Writes the JSON body for a path and returns its HTTP status. */
int route(const struct stock *stock, const char *path, struct text *body);

#endif
