{% autoescape false %}
/* {{ kind }}, exported by mlship from {{ ref }}. C99, no allocation, safe for threads. */
#ifndef {{ up }}_H
#define {{ up }}_H

#define {{ up }}_BUNDLE {{ ref_text }}
#define {{ up }}_SHA256 "{{ sha256 }}" /* of the bundle it was made from */
#define {{ up }}_OUTPUTS {{ outputs }} /* {{ "labels" if labels else "numbers in an answer" }} */

#ifdef __cplusplus
extern "C" {
#endif

/* One row. A missing number is NAN, a missing text NULL. Text is UTF-8. */
typedef struct {{ id }}_row {
{% for c in columns %}
    {{ "const char *" if c.kind == "text" else "double " }}{{ c.id }}; /* {{ c.doc }} */
{% endfor %}
} {{ id }}_row;

/* A row in which everything is missing, to begin with. */
{{ id }}_row {{ id }}_missing(void);

/* Each returns 0, or a number for {{ id }}_why when the model does not take the row. */
{% if labels %}
extern {{ label_type }}{{ id }}_labels[{{ up }}_OUTPUTS];
int {{ id }}_predict(const {{ id }}_row *row, {{ answer }}*answer);
{% if proba %}
int {{ id }}_predict_proba(const {{ id }}_row *row, double p[{{ up }}_OUTPUTS]);
{% endif %}
{% else %}
int {{ id }}_predict(const {{ id }}_row *row, double answer[{{ up }}_OUTPUTS]);
{% endif %}

/* What is wrong with a row, and the field where one is to blame (else ""). */
const char *{{ id }}_why(int code);
const char *{{ id }}_field(int code);

/* Answers the kept examples again; how many there are, and the largest difference from what the notebook's model said
   (1 and more: another label). */
int {{ id }}_selftest(double *worst);

#ifdef __cplusplus
}
#endif
#endif
{% endautoescape %}
