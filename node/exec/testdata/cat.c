/* Lists /in and copies every file in it to the log and to /out. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

int main(void) {
	char path[300], buf[4096];
	struct dirent *e;
	DIR *d = opendir("/in");
	if (!d) return 1;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.') continue;
		snprintf(path, sizeof path, "/in/%s", e->d_name);
		FILE *in = fopen(path, "r");
		snprintf(path, sizeof path, "/out/%s", e->d_name);
		FILE *out = fopen(path, "w");
		if (!in || !out) return 2;
		printf("%s: ", e->d_name);
		for (size_t n; (n = fread(buf, 1, sizeof buf, in));) {
			fwrite(buf, 1, n, stdout);
			fwrite(buf, 1, n, out);
		}
		fclose(in);
		if (fclose(out)) return 3;
	}
	return closedir(d);
}
