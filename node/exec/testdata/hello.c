/* Says hello on both streams and writes one file. */
#include <stdio.h>

int main(void) {
	printf("hello from a job\n");
	fflush(stdout);
	fprintf(stderr, "and hello from its errors\n");
	FILE *f = fopen("/out/hello.txt", "w");
	if (!f) return 1;
	fputs("hello\n", f);
	return fclose(f);
}
