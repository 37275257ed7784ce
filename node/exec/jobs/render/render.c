/*
 * render.c: a small path tracer, the example job of pinfi.
 *
 * It reads the one scene file in /in, renders the band PINFI_TASK of PINFI_TASKS of
 * the picture (bands are rows from top to bottom), and writes /out/tile-<task>.rgb
 * (three bytes a pixel, rows from top to bottom) and /out/tile-<task>.txt (x y w h
 * image-width image-height). jobs.Assemble puts the bands together.
 *
 * Every machine writes the same bytes: arithmetic is + - * / and the square root,
 * which IEEE 754 rounds in one way only, and chance is a hash of the pixel, the
 * sample and a counter, so that bands do not depend on each other either.
 *
 * Exit codes: 0, 65 for a bad scene, 66 for no scene, 74 when /out takes no more.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAD_SCENE = 65, NO_SCENE = 66, CANNOT_WRITE = 74 };
enum { SPHERES_MAX = 256, LIGHTS_MAX = 8, SIDE_MAX = 8192, GRID_MAX = 64, BOUNCES_MAX = 64, PATH = 512 };

/* ---- vectors ---- */

typedef struct { double x, y, z; } vec;

static vec v(double x, double y, double z) { return (vec){x, y, z}; }
static vec add(vec a, vec b) { return v(a.x + b.x, a.y + b.y, a.z + b.z); }
static vec sub(vec a, vec b) { return v(a.x - b.x, a.y - b.y, a.z - b.z); }
static vec mul(vec a, vec b) { return v(a.x * b.x, a.y * b.y, a.z * b.z); }
static vec scale(vec a, double s) { return v(a.x * s, a.y * s, a.z * s); }
static double dot(vec a, vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static double root(double x) { return x > 0 ? __builtin_sqrt(x) : 0; } /* one instruction of WebAssembly */
static vec unit(vec a) { return scale(a, 1 / root(dot(a, a))); }
static vec cross(vec a, vec b) {
	return v(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
static vec mix(vec a, vec b, double t) { return add(scale(a, 1 - t), scale(b, t)); }
static double largest(vec a) { return a.x > a.y ? (a.x > a.z ? a.x : a.z) : (a.y > a.z ? a.y : a.z); }

/* ---- the scene ---- */

typedef enum { MATTE, GLOSS, MIRROR, GLASS, LIGHT } material;

typedef struct {
	vec center, color;
	double radius, parameter; /* parameter: of a gloss or mirror its roughness, of a glass its index */
	material is;
} sphere;

static struct {
	int width, height, grid, bounces;
	vec eye, target;
	double zoom, aperture;
	vec horizon, zenith;
	int has_floor;
	double floor_y, floor_size, floor_gloss;
	vec floor_a, floor_b;
	sphere spheres[SPHERES_MAX]; /* lights first, once read */
	int count, lights;
} scene;

static const char *scene_name;
static int line_number;

static void bad(const char *format, const char *a, const char *b) {
	fprintf(stderr, "render: %s:%d: ", scene_name, line_number);
	fprintf(stderr, format, a, b);
	fputc('\n', stderr);
	exit(BAD_SCENE);
}

/* numbers reads n numbers off a line and leaves *text after them. */
static void numbers(char **text, double *out, int n, const char *usage) {
	for (int i = 0; i < n; i++) {
		char *end;
		out[i] = strtod(*text, &end);
		if (end == *text || (*end && !strchr(" \t", *end))) {
			char got[64], *p = *text + strspn(*text, " \t");
			snprintf(got, sizeof got, "%.*s", (int)strcspn(p, " \t"), p);
			bad("found \"%s\" where a number belongs; the line reads: %s", *got ? got : "the end of the line", usage);
		}
		if (!(out[i] > -1e6 && out[i] < 1e6)) bad("a number is not between -1000000 and 1000000%s; the line reads: %s", "", usage);
		*text = end;
	}
}

static void nothing_left(char *text, const char *usage) {
	text += strspn(text, " \t");
	if (*text) bad("found \"%s\" after all that belongs there; the line reads: %s", text, usage);
}

static int whole(double x, int low, int high, const char *what) {
	char range[64];
	snprintf(range, sizeof range, "a whole number from %d to %d", low, high);
	if (!(x >= low && x <= high && x == (double)(int)x)) bad("the %s must be %s", what, range);
	return (int)x;
}

static vec color(const double *c) {
	for (int i = 0; i < 3; i++)
		if (c[i] < 0) bad("a color is negative%s; want red, green and blue from 0 up%s", "", "");
	return v(c[0], c[1], c[2]);
}

static void read_sphere(char *text, int light) {
	static const char *usage_light = "light X Y Z RADIUS RED GREEN BLUE";
	static const char *usage_sphere = "sphere X Y Z RADIUS RED GREEN BLUE matte|gloss ROUGH|mirror ROUGH|glass INDEX";
	const char *usage = light ? usage_light : usage_sphere;
	double n[7];
	numbers(&text, n, 7, usage);
	sphere s = {v(n[0], n[1], n[2]), color(n + 4), n[3], 0, LIGHT};
	if (!(s.radius > 0)) bad("the radius is not positive%s; the line reads: %s", "", usage);
	if (!light) {
		char word[16];
		text += strspn(text, " \t");
		int length = (int)strcspn(text, " \t");
		snprintf(word, sizeof word, "%.*s", length, text);
		text += length;
		if (!strcmp(word, "matte")) s.is = MATTE;
		else if (!strcmp(word, "gloss")) s.is = GLOSS;
		else if (!strcmp(word, "mirror")) s.is = MIRROR;
		else if (!strcmp(word, "glass")) s.is = GLASS;
		else bad("found \"%s\" where a material belongs; the line reads: %s", word, usage);
		if (s.is != MATTE) numbers(&text, &s.parameter, 1, usage);
		if (s.is == GLASS && !(s.parameter >= 1 && s.parameter <= 4)) bad("the index of %s is not from 1 to 4%s", "glass", "");
		if (s.is != GLASS && !(s.parameter >= 0 && s.parameter <= 1)) bad("the roughness of a %s is not from 0 to 1%s", word, "");
	}
	nothing_left(text, usage);
	if (scene.count == SPHERES_MAX) bad("more than 256 spheres and lights%s%s", "", "");
	if (light && ++scene.lights > LIGHTS_MAX) bad("more than 8 lights%s%s", "", "");
	scene.spheres[scene.count++] = s;
}

static void read_line(char *text) {
	double n[9];
	char word[16];
	text += strspn(text, " \t");
	if (!*text || *text == '#') return;
	int length = (int)strcspn(text, " \t");
	snprintf(word, sizeof word, "%.*s", length, text);
	text += length;
	if (!strcmp(word, "image")) {
		const char *usage = "image WIDTH HEIGHT GRID BOUNCES";
		numbers(&text, n, 4, usage);
		nothing_left(text, usage);
		scene.width = whole(n[0], 1, SIDE_MAX, "width");
		scene.height = whole(n[1], 1, SIDE_MAX, "height");
		scene.grid = whole(n[2], 1, GRID_MAX, "grid (samples a pixel, a side)");
		scene.bounces = whole(n[3], 1, BOUNCES_MAX, "number of bounces");
	} else if (!strcmp(word, "camera")) {
		const char *usage = "camera X Y Z  LOOK-X LOOK-Y LOOK-Z  ZOOM APERTURE";
		numbers(&text, n, 8, usage);
		nothing_left(text, usage);
		scene.eye = v(n[0], n[1], n[2]);
		scene.target = v(n[3], n[4], n[5]);
		scene.zoom = n[6];
		scene.aperture = n[7];
		vec look = sub(scene.target, scene.eye);
		if (!(look.x * look.x + look.z * look.z > 1e-9)) bad("the camera looks straight up or down, or at itself%s%s", "", "");
		if (!(scene.zoom > 0) || scene.aperture < 0) bad("the zoom is not positive or the aperture negative%s%s", "", "");
	} else if (!strcmp(word, "sky")) {
		const char *usage = "sky RED GREEN BLUE (at the horizon)  RED GREEN BLUE (above)";
		numbers(&text, n, 6, usage);
		nothing_left(text, usage);
		scene.horizon = color(n);
		scene.zenith = color(n + 3);
	} else if (!strcmp(word, "floor")) {
		const char *usage = "floor Y  RED GREEN BLUE  RED GREEN BLUE  SIZE GLOSS";
		numbers(&text, n, 9, usage);
		nothing_left(text, usage);
		scene.has_floor = 1;
		scene.floor_y = n[0];
		scene.floor_a = color(n + 1);
		scene.floor_b = color(n + 4);
		scene.floor_size = n[7];
		scene.floor_gloss = n[8];
		if (!(n[7] > 0) || n[8] < 0 || n[8] > 1) bad("the size of the floor's squares is not positive, or its gloss not from 0 to 1%s%s", "", "");
	} else if (!strcmp(word, "light")) {
		read_sphere(text, 1);
	} else if (!strcmp(word, "sphere")) {
		read_sphere(text, 0);
	} else {
		bad("no line begins with \"%s\"; lines begin with image, camera, sky, floor, light, sphere or #%s", word, "");
	}
}

/* next_line reads a line without its end, and reports whether there was one. */
static int next_line(FILE *f, char *line, int size) {
	int n = 0, c = getc(f);
	line_number++;
	if (c == EOF) return 0;
	for (; c != EOF && c != '\n'; c = getc(f)) {
		if (!c || n == size - 1) bad("the line has a zero byte or is very long%s; is this a scene?%s", "", "");
		line[n++] = (char)c;
	}
	line[n] = 0;
	line[strcspn(line, "\r")] = 0;
	return 1;
}

static void read_scene(FILE *f) {
	static char line[1024];
	while (next_line(f, line, sizeof line)) read_line(line);
	if (!scene.width) bad("the file ends without a line that begins with \"%s\"; it reads: %s", "image", "image WIDTH HEIGHT GRID BOUNCES");
	if (!(scene.zoom > 0)) bad("the file ends without a line that begins with \"%s\"; it reads: %s", "camera", "camera X Y Z  LOOK-X LOOK-Y LOOK-Z  ZOOM APERTURE");
	for (int i = 0, first = 0; i < scene.count; i++)
		if (scene.spheres[i].is == LIGHT) {
			sphere s = scene.spheres[first];
			scene.spheres[first++] = scene.spheres[i];
			scene.spheres[i] = s;
		}
}

/* open_scene opens the one file in /in. */
static FILE *open_scene(void) {
	static char path[PATH];
	int files = 0;
	DIR *dir = opendir("/in");
	for (struct dirent *e; dir && (e = readdir(dir));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
		files++;
		snprintf(path, sizeof path, "/in/%s", e->d_name);
	}
	FILE *f = files == 1 ? fopen(path, "r") : NULL;
	if (!f) {
		fprintf(stderr, "render: /in holds %d files; give one scene as the job's input\n", files);
		exit(NO_SCENE);
	}
	scene_name = path + strlen("/in/");
	return f;
}

/* ---- chance ---- */

static uint32_t seed, draws;

static uint32_t scramble(uint32_t x) { /* a permutation of 32 bits without visible pattern */
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

static double chance(void) { /* from 0 up to 1, not 1 */
	return (double)scramble(seed ^ scramble(++draws)) * (1.0 / 4294967296.0);
}

static vec in_ball(void) {
	for (;;) {
		vec p = v(2 * chance() - 1, 2 * chance() - 1, 2 * chance() - 1);
		double d = dot(p, p);
		if (d < 1 && d > 1e-6) return p;
	}
}

static vec in_disk(void) {
	for (;;) {
		vec p = v(2 * chance() - 1, 2 * chance() - 1, 0);
		double d = dot(p, p);
		if (d < 1 && d > 1e-6) return p;
	}
}

/* ---- rays ---- */

typedef struct { vec from, to; } ray; /* to: a unit vector */

#define FAR 1e30
#define NEAR 1e-6

/* distance returns how far along the ray the sphere is, or FAR. */
static double distance(const ray *r, const sphere *s) {
	vec to = sub(s->center, r->from);
	double along = dot(to, r->to);
	double square = s->radius * s->radius - (dot(to, to) - along * along);
	if (square <= 0) return FAR;
	double half = root(square);
	if (along - half > NEAR) return along - half;
	return along + half > NEAR ? along + half : FAR;
}

static int occluded(const ray *r, double before, const sphere *but) {
	for (int i = 0; i < scene.count; i++) {
		const sphere *s = &scene.spheres[i];
		if (s != but && distance(r, s) < before) return 1;
	}
	return 0;
}

static vec sky(vec to) {
	double up = to.y > 0 ? to.y : 0;
	return mix(scene.horizon, scene.zenith, root(up));
}

/* aside returns two unit vectors that stand on a and on each other. */
static void aside(vec a, vec *b, vec *c) {
	*b = unit(cross(a, a.x * a.x > 0.5 ? v(0, 1, 0) : v(1, 0, 0)));
	*c = cross(a, *b);
}

/* direct returns the light that comes straight from the lights to a matte point,
   by drawing one direction in the cone that each light fills. */
static vec direct(vec at, vec normal) {
	vec sum = v(0, 0, 0);
	for (int i = 0; i < scene.lights; i++) {
		const sphere *light = &scene.spheres[i];
		vec to = sub(light->center, at), b, c;
		double far2 = dot(to, to), sine2 = light->radius * light->radius / far2;
		if (sine2 >= 1) continue; /* inside the light */
		double cosine_min = root(1 - sine2), cosine = 1 - chance() * (1 - cosine_min);
		vec axis = unit(to), turn = unit(in_disk());
		aside(axis, &b, &c);
		double sine = root(1 - cosine * cosine);
		vec dir = add(scale(axis, cosine), add(scale(b, sine * turn.x), scale(c, sine * turn.y)));
		double facing = dot(dir, normal);
		if (facing <= 0) continue;
		ray r = {at, unit(dir)};
		double d = distance(&r, light);
		if (d == FAR) d = root(far2) - light->radius; /* a grazing ray that rounding made miss */
		if (occluded(&r, d, light)) continue;
		sum = add(sum, scale(light->color, 2 * facing * (1 - cosine_min))); /* 2 pi (1 - cos) / pi */
	}
	return sum;
}

static vec mirrored(vec to, vec normal) { return sub(to, scale(normal, 2 * dot(to, normal))); }

/* fresnel returns the share that is reflected, by Schlick's approximation. */
static double fresnel(double cosine, double base) {
	double m = 1 - cosine, m2 = m * m;
	return base + (1 - base) * m2 * m2 * m;
}

/* through_glass returns where a ray goes that meets glass. */
static vec through_glass(vec to, vec normal, double index, int inside) {
	double ratio = inside ? index : 1 / index;
	double cosine = -dot(to, normal), sine2 = ratio * ratio * (1 - cosine * cosine);
	double base = (1 - index) / (1 + index);
	double outer = inside ? root(1 - sine2) : cosine;
	if (sine2 >= 1 || chance() < fresnel(outer, base * base)) return mirrored(to, normal);
	return unit(add(scale(to, ratio), scale(normal, ratio * cosine - root(1 - sine2))));
}

typedef struct { vec at, normal, color; double parameter; material is; int inside; } hit;

/* meet finds what a ray meets first, and how far away, or FAR. */
static double meet(const ray *r, hit *h) {
	double nearest = FAR;
	const sphere *found = NULL;
	for (int i = 0; i < scene.count; i++) {
		double d = distance(r, &scene.spheres[i]);
		if (d < nearest) {
			nearest = d;
			found = &scene.spheres[i];
		}
	}
	double down = scene.has_floor && r->to.y < -1e-9 ? (scene.floor_y - r->from.y) / r->to.y : FAR;
	if (down > NEAR && down < nearest) {
		h->at = add(r->from, scale(r->to, down));
		double u = h->at.x / scene.floor_size, w = h->at.z / scene.floor_size;
		int64_t cell = (int64_t)(u + 1048576) + (int64_t)(w + 1048576); /* floor(u) + floor(w), even when negative */
		h->normal = v(0, 1, 0);
		h->color = cell & 1 ? scene.floor_a : scene.floor_b;
		h->is = scene.floor_gloss > 0 ? GLOSS : MATTE;
		h->parameter = 1 - scene.floor_gloss;
		h->inside = 0;
		return down;
	}
	if (!found) return FAR;
	h->at = add(r->from, scale(r->to, nearest));
	h->normal = scale(sub(h->at, found->center), 1 / found->radius);
	h->inside = dot(h->normal, r->to) > 0;
	if (h->inside) h->normal = scale(h->normal, -1);
	h->color = found->color;
	h->parameter = found->parameter;
	h->is = found->is;
	return nearest;
}

/* radiance follows a ray from bounce to bounce and returns the light it brings. */
static vec radiance(ray r) {
	vec sum = v(0, 0, 0), carried = v(1, 1, 1);
	int sees_lights = 1; /* not after a matte bounce, which asked the lights itself */
	int scattered = 0;   /* by a matte or a rough thing */
	for (int bounce = 0; bounce < scene.bounces; bounce++) {
		hit h;
		double d = meet(&r, &h);
		if (d == FAR) return add(sum, mul(carried, sky(r.to)));
		if (h.is == LIGHT) {
			if (!sees_lights) return sum;
			/* Light that a mirror or a glass throws on a matte thing is met rarely and
			   would make specks: it is dimmed. */
			double dim = scattered && largest(h.color) > 2 ? 2 / largest(h.color) : 1;
			return add(sum, scale(mul(carried, h.color), dim));
		}
		double haze = d * d / (d * d + 3600); /* the floor fades into the horizon */
		sum = add(sum, scale(mul(carried, scene.horizon), haze));
		carried = scale(carried, 1 - haze);
		if (bounce > 2) { /* end dim paths by chance, and make up for it in the others */
			double stay = largest(carried);
			if (stay > 0.95) stay = 0.95;
			if (chance() >= stay) return sum;
			carried = scale(carried, 1 / stay);
		}
		vec color = h.color;
		int shine = 0;
		r.from = h.at;
		if (h.is == GLOSS) { /* a matte thing under a clear coat */
			double share = fresnel(-dot(r.to, h.normal), 0.04), taken = share < 0.5 ? 0.5 : share;
			vec below = scale(color, 1 - share);
			sum = add(sum, mul(mul(carried, below), direct(h.at, h.normal)));
			shine = chance() < taken; /* reflections are few and bright: take more, and dim them */
			color = shine ? v(share / taken, share / taken, share / taken) : scale(below, 1 / (1 - taken));
		} else if (h.is == MATTE) {
			sum = add(sum, mul(mul(carried, color), direct(h.at, h.normal)));
		}
		carried = mul(carried, color);
		if (h.is == GLASS) {
			r.to = through_glass(r.to, h.normal, h.parameter, h.inside);
		} else if (h.is == MIRROR || shine) {
			r.to = unit(add(mirrored(r.to, h.normal), scale(in_ball(), h.parameter)));
			if (dot(r.to, h.normal) <= 0) return sum;
			scattered |= h.parameter > 0.1; /* too rough to find a light by itself */
		} else {
			r.to = unit(add(h.normal, scale(unit(in_ball()), 1 - 1e-9)));
			scattered = 1;
		}
		sees_lights = h.is == GLASS || h.is == MIRROR || shine;
	}
	return sum;
}

/* ---- the picture ---- */

/* tone maps light to a byte: a film-like curve (Narkowicz 2015), then gamma 2. */
static uint8_t tone(double x) {
	x = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14);
	double y = root(x) * 255 + 0.5;
	return y > 255 ? 255 : (uint8_t)y;
}

static void render_pixel(int px, int py, uint8_t *out) {
	vec look = sub(scene.target, scene.eye), forward = unit(look);
	vec right = unit(cross(forward, v(0, 1, 0))), up = cross(right, forward);
	double focus = root(dot(look, look));
	vec sum = v(0, 0, 0);
	for (int i = 0; i < scene.grid * scene.grid; i++) {
		seed = scramble((uint32_t)(py * SIDE_MAX + px)) + scramble(0x9e3779b9u * (uint32_t)(i + 1));
		draws = 0;
		double sx = px + (i % scene.grid + chance()) / scene.grid;
		double sy = py + (i / scene.grid + chance()) / scene.grid;
		double a = (2 * sx - scene.width) / scene.height / scene.zoom, b = (scene.height - 2 * sy) / scene.height / scene.zoom;
		vec to = add(forward, add(scale(right, a), scale(up, b)));
		ray r = {scene.eye, unit(to)};
		if (scene.aperture > 0) { /* what is as far as the target is sharp */
			vec lens = scale(in_disk(), scene.aperture);
			r.from = add(r.from, add(scale(right, lens.x), scale(up, lens.y)));
			r.to = unit(sub(add(scene.eye, scale(to, focus)), r.from));
		}
		vec light = radiance(r);
		double top = largest(light);
		if (top > 12) light = scale(light, 12 / top); /* rare bright paths would be specks */
		sum = add(sum, light);
	}
	sum = scale(sum, 1.0 / (scene.grid * scene.grid));
	out[0] = tone(sum.x);
	out[1] = tone(sum.y);
	out[2] = tone(sum.z);
}

static int number_of(const char *name, long fallback) {
	const char *text = getenv(name);
	char *end;
	if (!text) return (int)fallback;
	long n = strtol(text, &end, 10);
	if (*end || end == text || n < 0 || n > SIDE_MAX) {
		fprintf(stderr, "render: %s is \"%s\", want a number from 0 to %d\n", name, text, SIDE_MAX);
		exit(BAD_SCENE);
	}
	return (int)n;
}

static FILE *create(int task, const char *suffix) {
	char path[PATH];
	snprintf(path, sizeof path, "/out/tile-%d.%s", task, suffix);
	FILE *f = fopen(path, "w");
	if (!f) {
		perror(path);
		exit(CANNOT_WRITE);
	}
	return f;
}

int main(void) {
	int task = number_of("PINFI_TASK", 0), tasks = number_of("PINFI_TASKS", 1);
	FILE *f = open_scene();
	read_scene(f);
	fclose(f);
	if (tasks < 1 || task >= tasks || tasks > scene.height) {
		fprintf(stderr, "render: task %d of %d: want at most one task for each of the %d rows of %s\n",
			task, tasks, scene.height, scene_name);
		return BAD_SCENE;
	}
	int first = (int)((int64_t)scene.height * task / tasks), end = (int)((int64_t)scene.height * (task + 1) / tasks);
	size_t row = 3 * (size_t)scene.width;
	uint8_t *pixels = malloc(row);
	if (!pixels) abort();
	FILE *rgb = create(task, "rgb");
	for (int y = first; y < end; y++) {
		for (int x = 0; x < scene.width; x++) render_pixel(x, y, pixels + 3 * x);
		if (fwrite(pixels, 1, row, rgb) != row) break;
		int quarter = 4 * (y + 1 - first) / (end - first);
		if (quarter > 4 * (y - first) / (end - first)) {
			printf("render: band %d of %d, %d %%\n", task + 1, tasks, 25 * quarter);
			fflush(stdout);
		}
	}
	FILE *txt = create(task, "txt");
	fprintf(txt, "0 %d %d %d %d %d\n", first, scene.width, end - first, scene.width, scene.height);
	int failed = ferror(rgb) | fclose(rgb) | ferror(txt) | fclose(txt);
	if (failed) {
		fprintf(stderr, "render: /out takes no more: the band has %zu bytes\n", row * (size_t)(end - first));
		return CANNOT_WRITE;
	}
	return 0;
}
