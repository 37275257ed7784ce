/* Writes a file and fails with the code 7. */
#include <stdio.h>

int main(void) {
	FILE *f = fopen("/out/partial", "w");
	if (!f || fputs("as far as it came", f) < 0 || fclose(f)) return 1;
	return 7;
}
