/*
 * shelf-label: prints price labels for shop shelves.
 *
 * usage: shelf-label [-w WIDTH] NAME PRICE
 *        shelf-label [-w WIDTH] < FILE      one "NAME;PRICE" a line
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef DEFAULT_WIDTH
#define DEFAULT_WIDTH 24
#endif

enum { MIN_WIDTH = 8, MAX_WIDTH = 120 };

static void repeat(char c, int count)
{
	while (count-- > 0)
		putchar(c);
}

static void border(int width)
{
	putchar('+');
	repeat('-', width - 2);
	puts("+");
}

/* The bytes of `text` that fit into `room` columns; `*columns` is how many of these they take. */
static int fit(const char *text, int room, int *columns)
{
	int length = (int)strlen(text);

	*columns = length < room ? length : room;
	return *columns;
}

static void print_label(const char *name, const char *price, int width)
{
	int room = width - 4;
	int columns, bytes;

	border(width);
	bytes = fit(name, room, &columns);
	printf("| %.*s", bytes, name);
	repeat(' ', room - columns);
	puts(" |");
	bytes = fit(price, room, &columns);
	printf("| ");
	repeat(' ', room - columns);
	printf("%.*s |\n", bytes, price);
	border(width);
}

static int print_lines(FILE *input, int width)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	int bad = 0;

	while ((length = getline(&line, &room, input)) >= 0) {
		char *price;

		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = '\0';
		if (line[0] == '\0')
			continue;
		price = strchr(line, ';');
		if (price == NULL) {
			fprintf(stderr, "shelf-label: not NAME;PRICE: %s\n", line);
			bad = 1;
			continue;
		}
		*price++ = '\0';
		print_label(line, price, width);
	}
	free(line);
	return bad;
}

static int usage(void)
{
	fprintf(stderr, "usage: shelf-label [-w WIDTH] [NAME PRICE]\n");
	return 2;
}

int main(int argc, char **argv)
{
	long width = DEFAULT_WIDTH;
	int option;

	while ((option = getopt(argc, argv, "w:V")) != -1) {
		char *end;

		switch (option) {
		case 'w':
			width = strtol(optarg, &end, 10);
			if (*optarg == '\0' || *end != '\0' || width < MIN_WIDTH || width > MAX_WIDTH) {
				fprintf(stderr, "shelf-label: a width is a number from %d to %d\n", MIN_WIDTH, MAX_WIDTH);
				return 2;
			}
			break;
		case 'V':
			puts("shelf-label " VERSION);
			return 0;
		default:
			return usage();
		}
	}
	if (argc - optind == 2) {
		print_label(argv[optind], argv[optind + 1], (int)width);
		return 0;
	}
	return argc == optind ? print_lines(stdin, (int)width) : usage();
}
