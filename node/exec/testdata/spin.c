/* Never ends. */
#include <stdio.h>

int main(void) {
	volatile unsigned long n = 0;
	puts("spinning");
	fflush(stdout);
	for (;;) n++;
}
