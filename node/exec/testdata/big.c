/* Writes 10 MiB more than it may: in one file, in holes, in removed files, in
   many files. Its limit is 1 MiB and the files it makes first take half of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char block[1 << 16];

static long fill(int fd, long bytes) {
	long n, done = 0;
	while (done < bytes && (n = write(fd, block, sizeof block)) > 0) done += n;
	return done;
}

int main(void) {
	int fd = open("/out/half", O_WRONLY | O_CREAT, 0666);
	printf("half: %ld\n", fill(fd, 1 << 19));
	int hole = open("/out/hole", O_WRONLY | O_CREAT, 0666);
	printf("hole: %d\n", (int)pwrite(hole, "x", 1, 11 << 20));
	printf("grown: %d\n", ftruncate(hole, 11 << 20));
	unlink("/out/half");
	printf("more in a removed file: %ld\n", fill(fd, 11 << 20));
	printf("again: %d\n", (int)write(fd, "x", 1));
	int many = 0;
	for (char name[64]; many < 10000; many++) {
		snprintf(name, sizeof name, "/out/file-%d", many);
		int f = open(name, O_WRONLY | O_CREAT, 0666);
		if (f < 0) break;
		close(f);
		unlink(name);
	}
	printf("files: %d\n", many);
	return many < 10000 ? 9 : 0;
}
