/* Takes and touches memory. With the file /in/polite it ends well when there is
   no more, else it aborts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
	size_t total = 0, step = 1 << 20;
	FILE *polite = fopen("/in/polite", "r");
	for (;;) {
		char *volatile p = malloc(step); /* volatile: or the compiler drops it */
		if (!p) break;
		memset(p, 1, step);
		total += step;
	}
	printf("had %zu MiB\n", total >> 20);
	fflush(stdout);
	if (!polite) abort();
	return 3;
}
