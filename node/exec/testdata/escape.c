/* Tries to read and write outside of its folders in every way it knows, and says
   what worked. The host puts a file named secret beside the job's folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

static int escapes;

static void report(const char *what, int worked) {
	printf("%-40s %s (%s)\n", what, worked ? "WORKED" : "refused", worked ? "" : strerror(errno));
	escapes += worked;
}

static int writes(const char *path) {
	int fd = open(path, O_WRONLY | O_CREAT, 0666);
	if (fd < 0) return 0;
	int n = write(fd, "escaped", 7);
	close(fd);
	return n > 0;
}

static int reads(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd >= 0) close(fd);
	return fd >= 0;
}

/* Raw calls, below the libc, which cleans paths before it passes them on. */
static int raw_open(int dir, const char *path, int oflags, int rights) {
	__wasi_fd_t fd;
	errno = __wasi_path_open(dir, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, oflags, rights, 0, 0, &fd);
	if (errno == 0) errno = __wasi_fd_close(fd);
	return errno == 0;
}

static int raw_ok(__wasi_errno_t e) {
	errno = e;
	return e == 0;
}

#define WRITE (__WASI_RIGHTS_FD_WRITE)
#define READ (__WASI_RIGHTS_FD_READ)

int main(void) {
	report("write /escaped", writes("/escaped"));
	report("write /tmp/escaped", writes("/tmp/escaped"));
	report("write /out/../escaped", writes("/out/../escaped"));
	report("write /out/../../escaped", writes("/out/../../escaped"));
	report("write ../escaped", writes("../escaped"));
	report("read /etc/passwd", reads("/etc/passwd"));
	report("read /proc/self/environ", reads("/proc/self/environ"));
	report("read /out/../secret", reads("/out/../secret"));
	report("write /in/new", writes("/in/new"));
	report("write over /in/data", writes("/in/data"));
	report("remove /in/data", unlink("/in/data") == 0);
	report("rename /in/data", rename("/in/data", "/out/data") == 0);
	report("symlink to ..", symlink("..", "/out/up") == 0);
	report("symlink to ../../secret", symlink("../../secret", "/out/s") == 0);
	report("symlink to itself", symlink(".", "/out/dot") == 0);
	report("symlink absolute", symlink("/etc/passwd", "/out/p") == 0);
	report("write through symlink", writes("/out/up/escaped"));
	report("hard link of input", link("/in/data", "/out/hard") == 0);
	writes("/out/mine");
	report("hard link", link("/out/mine", "/out/hard") == 0);
	mkdir("/out/sub", 0777);
	report("rename out", rename("/out/mine", "/out/../mine") == 0);
	report("mkdir outside", mkdir("/out/../dir", 0777) == 0);
	for (int dir = 3; dir <= 5; dir++) { /* /in, /out and what may be behind them */
		report("raw open ../secret", raw_open(dir, "../secret", 0, READ));
		report("raw open sub/../../secret", raw_open(dir, "sub/../../secret", 0, READ));
		report("raw open /etc/passwd", raw_open(dir, "/etc/passwd", 0, READ));
		report("raw create ../escaped", raw_open(dir, "../escaped", __WASI_OFLAGS_CREAT, WRITE));
		report("raw create sub/../../escaped", raw_open(dir, "sub/../../escaped", __WASI_OFLAGS_CREAT, WRITE));
		report("raw create /escaped", raw_open(dir, "/escaped", __WASI_OFLAGS_CREAT, WRITE));
		report("raw mkdir ../dir", raw_ok(__wasi_path_create_directory(dir, "../dir")));
		report("raw rename to ..", raw_ok(__wasi_path_rename(4, "mine", dir, "../mine")));
		report("raw symlink", raw_ok(__wasi_path_symlink("../../secret", dir, "s")));
		report("raw link", raw_ok(__wasi_path_link(4, 0, "mine", dir, "hard")));
		report("raw unlink", raw_ok(__wasi_path_unlink_file(dir, "../secret")));
	}
	report("fd 4 written as a file", write(4, "x", 1) > 0);
	report("colon in a name", writes("/out/a:b"));
	unlink("/out/mine");
	printf("%d escapes\n", escapes);
	return escapes > 0;
}
