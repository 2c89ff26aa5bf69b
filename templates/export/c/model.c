{% autoescape false %}
/* {{ kind }}, exported by mlship from {{ ref }}. Compile with -std=c99 (which forbids fused multiply-add). */
#include "{{ id }}.h"
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__FAST_MATH__)
#error "-ffast-math takes NAN away, which is what a missing value is"
#endif
#if FLT_EVAL_METHOD != 0
#error "arithmetic in more than double precision gives other answers: on x86 use -msse2 -mfpmath=sse"
#endif
{% if single %}
#if FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "float is not the single precision that the thresholds are written in"
#endif
{% endif %}
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#endif

enum { COLUMNS = {{ columns | length }}, WIDTH = {{ width }}, OUTPUTS = {{ outputs }}, SCORES = {{ scores }}, FEATURES = {{ features }}{{ ", LANES = 8" if trees }} };
enum { MISSING = 1, INFINITE, NOT_WHOLE, OUTSIDE, UNKNOWN, NO_NAN, TOO_LARGE, NO_ANSWER };
enum { SCALE, AFFINE, IMPUTE, SELECT, PROJECT, NORMALIZE };

typedef struct { const char *name; int text, whole, nullable; double low, high; } column;
typedef struct { int op; const double *a, *b, *c; const int *columns; int out; double low, high; } step;
{% if lookups %}
typedef struct {
    const char *const *texts; const double *numbers; const int *order; int keys, missing, refuse; const int *place;
    const double *codes; double unknown; int size, width;
} lookup;
{% endif %}

static const column fields[COLUMNS] = {
{% for c in columns %}
    {{ "{" }}{{ c.text }}, {{ c.flags }}, {{ c.low }}, {{ c.high }}{{ "}" }},
{% endfor %}
};
{{ tables }}

/* The walker: the same for every model. */

static int fail(int what, int field) { return what + 16 * (field + 1); /* no field: -1 */ }

static int check(const double *numbers, const char *const *texts) {
    int i;
    for (i = 0; i < COLUMNS; i++) {
        const column *c = &fields[i];
        double v = numbers[i];
        if (c->text ? texts[i] == NULL : isnan(v)) {
            if (!c->nullable) return fail(MISSING, i);
            continue;
        }
        if (c->text) continue;
        if (isinf(v)) return fail(INFINITE, i);
        if (c->whole && v != rint(v)) return fail(NOT_WHOLE, i);
        if (v < c->low || v > c->high) return fail(OUTSIDE, i);
    }
    return 0;
}
{% if ops %}

static int run(const step *s, int steps, double *x, int n) {
    int i, j, k;
    double y[WIDTH];
    for (k = 0; k < steps; k++, s++) {
        switch (s->op) {
        case SCALE:
            for (i = 0; i < n; i++) {
                if (s->a) x[i] -= s->a[i];
                if (s->b) x[i] /= s->b[i];
            }
            break;
        case AFFINE:
            for (i = 0; i < n; i++) {
                double v = x[i] * s->a[i] + s->b[i];
                x[i] = v < s->low ? s->low : v > s->high ? s->high : v;
            }
            break;
        case IMPUTE: case SELECT:
            for (i = 0; i < s->out; i++) {
                y[i] = x[s->columns[i]];
                if (s->op == IMPUTE && isnan(y[i])) y[i] = s->a[i];
            }
            memcpy(x, y, sizeof(double) * (size_t)s->out);
            break;
        case PROJECT:
            for (j = 0; j < s->out; j++) y[j] = 0;
            for (i = 0; i < n; i++) {
                double v = s->a ? x[i] - s->a[i] : x[i];
                for (j = 0; j < s->out; j++) y[j] += v * s->b[i * s->out + j];
            }
            for (j = 0; j < s->out; j++) x[j] = s->c ? y[j] / s->c[j] : y[j];
            break;
        default: {
            double size = 0;
            for (i = 0; i < n; i++) {
                double v = fabs(x[i]);
                if (s->columns[0] == 0) size = v > size || isnan(v) ? v : size;
                else size += s->columns[0] == 1 ? v : v * v;
            }
            if (s->columns[0] == 2) size = sqrt(size);
            for (i = 0; i < n && size != 0; i++) x[i] /= size;
        }
        }
        n = s->out;
    }
    return n;
}
{% endif %}
{% if lookups %}

static int find(const lookup *l, double number, const char *text) {
    int low = 0, high = l->keys;
    if (l->texts ? text == NULL : isnan(number)) return l->missing;
    while (low < high) {
        int middle = low + (high - low) / 2, way;
        if (l->texts) way = strcmp(text, l->texts[middle]);
        else if (!l->numbers) return l->size;
        else way = number < l->numbers[middle] ? -1 : number > l->numbers[middle];
        if (way == 0) return l->order[middle];
        if (way < 0) high = middle; else low = middle + 1;
    }
    return l->size;
}

static int encode(const lookup *l, int n, const int *columns, const double *numbers, const char *const *texts, double *x) {
    int i, j;
    for (i = 0; i < n; i++, l++) {
        int column = columns[i], k;
        k = fields[column].text && texts[column] == NULL ? l->missing : find(l, numbers[column], texts[column]);
        if (k == l->size && l->refuse) return fail(UNKNOWN, column);
        for (j = 0; j < l->width; j++) x[j] = 0;
        if (!l->place) x[0] = k == l->size ? l->unknown : l->codes[k];
        else if (k < l->size && l->place[k] >= 0) x[l->place[k]] = 1;
        x += l->width;
    }
    return 0;
}
{% endif %}

static int scores(const {{ id }}_row *row, double *s) {
    double numbers[COLUMNS], x[WIDTH];
    const char *texts[COLUMNS];
    int i, k, code;
{% if trees %}
    {{ real }} v[{{ "2 * " if twice }}FEATURES];
{% endif %}
{% for c in columns %}
    numbers[{{ loop.index0 }}] = {{ "NAN" if c.kind == "text" else "row->" ~ c.id }};
    texts[{{ loop.index0 }}] = {{ "row->" ~ c.id if c.kind == "text" else "NULL" }};
{% endfor %}
    if ((code = check(numbers, texts)) != 0) return code;
{% for p in parts %}
{% if p.lookups %}
    if ((code = encode(part{{ loop.index0 }}_lookups, {{ p.n }}, part{{ loop.index0 }}_columns, numbers, texts, x + {{ p.at }})) != 0) return code;
{% else %}
    for (i = 0; i < {{ p.n }}; i++) x[{{ p.at }} + i] = numbers[part{{ loop.index0 }}_columns[i]];
{% endif %}
{% if p.steps %}
    run(part{{ loop.index0 }}_steps, {{ p.steps }}, x + {{ p.at }}, {{ p.width }});
{% endif %}
{% endfor %}
{% if steps %}
    run(steps, {{ steps }}, x, {{ whole }});
{% endif %}
{% if finite %}
    for (i = 0; i < FEATURES; i++) if (!isfinite(x[i])) return fail(NO_NAN, -1);
{% endif %}
{% if trees %}
    for (i = 0; i < FEATURES; i++) {
        v[i] = {{ "(float)" if single }}x[i];{{ " /* as the library does: single-precision input */" if single }}
{% if single %}
        if (isinf(v[i])) return fail(TOO_LARGE, -1);
{% endif %}
{% if twice %}
        v[FEATURES + i] = isnan(v[i]) ? -({{ real }})INFINITY : v[i]; /* for nodes where what is missing goes left */
{% endif %}
    }
    for (k = 0; k < SCORES; k++) s[k] = 0;
    for (i = 0; i < TREES; i += LANES) { /* several trees at a time: while one waits for memory, others go on */
        int32_t at[LANES];
        int lane, walking = 0;
        for (lane = 0; lane < LANES; lane++) {
            at[lane] = i + lane < TREES ? roots[i + lane] : -1;
            walking |= at[lane] >= 0;
        }
        while (walking) {
            walking = 0;
            for (lane = 0; lane < LANES; lane++) {
                int32_t here = at[lane], next;
{% if single %}
                const int32_t *node = nodes + 4 * (ptrdiff_t)(here < 0 ? 0 : here);
                float limit;
                memcpy(&limit, node, sizeof limit);
                next = node[2 + !(v[node[1]] <= limit)];
{% else %}
                ptrdiff_t n = here < 0 ? 0 : here;
                next = nodes[3 * n + 1 + !(v[nodes[3 * n]] <= threshold[n])];
{% endif %}
                at[lane] = here < 0 ? here : next;
                walking |= at[lane] >= 0;
            }
        }
        for (lane = 0; lane < LANES && i + lane < TREES; lane++) {
{% if groups %}
            s[groups[i + lane]] += values[~at[lane]];
{% else %}
            for (k = 0; k < SCORES; k++) s[k] += values[(ptrdiff_t)~at[lane] * SCORES + k];
{% endif %}
        }
    }
    for (k = 0; k < SCORES; k++) s[k] = (s[k] + start[k]) / {{ divide }};
{% else %}
    for (k = 0; k < SCORES; k++) {
        s[k] = 0;
        for (i = 0; i < FEATURES; i++) s[k] += x[i] * coef[k * FEATURES + i];
        s[k] += intercept[k];
    }
{% endif %}
    for (k = 0; k < SCORES; k++) if (!isfinite(s[k])) return fail(NO_ANSWER, -1);
    return 0;
}
{% if link in ("expit", "ovr") %}

static double expit(double x) {
    double e = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}
{% endif %}
{% if uses_link %}

static void link_of(const double *s, double *p) {
{% if link == "expit" %}
    p[1] = expit(s[0]);
    p[0] = 1 - p[1];
{% elif link in ("identity", "mean") %}
    memcpy(p, s, sizeof(double) * SCORES);
{% elif link == "exp" %}
    int k;
    for (k = 0; k < SCORES; k++) p[k] = exp(s[k]);
{% else %}
    int k;
    double total = 0{{ ", most" if link != "ovr" }};
{% if link == "ovr" %}
    for (k = 0; k < OUTPUTS; k++) total += p[k] = expit(s[k]);
{% else %}
{% if link == "softmax2" %}
    p[0] = -s[0];
    p[1] = s[0];
{% else %}
    memcpy(p, s, sizeof(double) * SCORES);
{% endif %}
    most = p[0];
    for (k = 1; k < OUTPUTS; k++) if (p[k] > most) most = p[k];
    for (k = 0; k < OUTPUTS; k++) total += p[k] = exp(p[k] - most);
{% endif %}
    for (k = 0; k < OUTPUTS; k++) p[k] /= total;
{% endif %}
}
{% endif %}
{% if labels %}

static int index_of(const double *s) {
{% if decide == "sign" %}
    return s[0] > 0;
{% else %}
    int k, best = 0;
{% if decide == "proba" %}
    double p[OUTPUTS];
    link_of(s, p);
    s = p;
{% endif %}
    for (k = 1; k < OUTPUTS; k++) if (s[k] > s[best]) best = k;
    return best;
{% endif %}
}
{% endif %}

{{ id }}_row {{ id }}_missing(void) {
    {{ id }}_row row;
{% for c in columns %}
    row.{{ c.id }} = {{ "NULL" if c.kind == "text" else "NAN" }};
{% endfor %}
    return row;
}
{% if labels %}

int {{ id }}_predict(const {{ id }}_row *row, {{ answer }}*answer) {
    double s[SCORES];
    int code = scores(row, s);
    if (code == 0) *answer = {{ id }}_labels[index_of(s)];
    return code;
}
{% if proba %}

int {{ id }}_predict_proba(const {{ id }}_row *row, double p[OUTPUTS]) {
    double s[SCORES];
    int code = scores(row, s);
    if (code == 0) link_of(s, p);
    return code;
}
{% endif %}
{% else %}

int {{ id }}_predict(const {{ id }}_row *row, double answer[OUTPUTS]) {
    double s[SCORES];
    int code = scores(row, s);
    if (code == 0) link_of(s, answer);
    return code;
}
{% endif %}

const char *{{ id }}_why(int code) {
    static const char *const words[] = {
        "", "is missing, and training had no missing value here", "is infinite", "is no whole number",
        "is outside what was taken in training", "has a category that training did not have",
        "the model does not take a missing value here", "a value is too large",
        "the model has no finite answer for this row"};
    return words[code % 16];
}

const char *{{ id }}_field(int code) { return code < 16 ? "" : fields[code / 16 - 1].name; }
{% if examples %}

static double difference(double a, double b) { return fabs(a - b) / (fabs(b) > 1 ? fabs(b) : 1); }
{% endif %}

int {{ id }}_selftest(double *worst) {
    *worst = 0;
{% if examples %}
    {
        int i, k;
        double s[SCORES], y[OUTPUTS];
        for (i = 0; i < EXAMPLES; i++) {
            {{ id }}_row row;
{% for c in columns %}
            row.{{ c.id }} = {{ "example_texts[i * TEXTS + " ~ c.at ~ "]" if c.kind == "text" else "example_numbers[i * NUMBERS + " ~ c.at ~ "]" }};
{% endfor %}
            if (scores(&row, s) != 0) { *worst = INFINITY; continue; }
{% if labels %}
            k = index_of(s);
            if (k != example_answers[i]) *worst = fmax(*worst, 1);
{% if proba %}
            link_of(s, y);
            for (k = 0; k < OUTPUTS; k++) *worst = fmax(*worst, difference(y[k], example_proba[i * OUTPUTS + k]));
{% else %}
            (void)y; (void)difference;
{% endif %}
{% else %}
            link_of(s, y);
            for (k = 0; k < OUTPUTS; k++) *worst = fmax(*worst, difference(y[k], example_answers[i * OUTPUTS + k]));
{% endif %}
        }
    }
{% endif %}
    return {{ examples }};
}

#ifdef {{ up }}_MAIN
#include <stdio.h>
int main(void) {
    double worst;
    int n = {{ id }}_selftest(&worst);
    printf("%s %s: %d examples, largest difference %g\n", {{ up }}_BUNDLE, {{ up }}_SHA256, n, worst);
    return worst <= 1e-9 ? 0 : 1;
}
#endif
{% endautoescape %}
