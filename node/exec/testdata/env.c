/* Prints all that differs between two places: environment, arguments, clocks,
   randomness, times and numbers of files, the order of a folder. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
	struct timespec now;
	struct stat st;
	unsigned char random[8];
	for (int i = 0; i < argc; i++) printf("argument %s\n", argv[i]);
	for (char **e = environ; *e; e++) printf("environment %s\n", *e);
	clock_gettime(CLOCK_REALTIME, &now);
	printf("time %lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("uptime %lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
	getentropy(random, sizeof random);
	for (int i = 0; i < 8; i++) printf("%02x%s", random[i], i < 7 ? "" : "\n");
	for (char name[] = "/out/z"; name[5] >= 'a'; name[5]--) close(open(name, O_WRONLY | O_CREAT, 0666));
	DIR *d = opendir("/out");
	for (struct dirent *e; d && (e = readdir(d));) printf("%s ", e->d_name);
	stat("/out/a", &st);
	printf("\nfile %llu %llu %o %lld %lld\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
		st.st_mode, (long long)st.st_size, (long long)st.st_mtim.tv_sec);
	return 0;
}
