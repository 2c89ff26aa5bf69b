{% autoescape false %}
package {{ package }};

/**
 * {{ kind }}, exported by mlship from {{ ref }}.
 * The bundle it was made from has the SHA-256 {@link #BUNDLE_SHA256}.
 */
public final class {{ type }} {
    public static final String BUNDLE = {{ ref_text }};
    public static final String BUNDLE_SHA256 = "{{ sha256 }}";
    private static final Walker WALKER = Walker.read({{ type }}.class.getResourceAsStream("{{ type }}.bin"), "{{ type }}.bin");

    private {{ type }}() {}

    /** One row. What is not set is missing. */
    public static final class Row {
        private final double[] numbers = new double[{{ columns | length }}];
        private final String[] texts = new String[{{ columns | length }}];

        public Row() { java.util.Arrays.fill(numbers, Double.NaN); }
{% for c in columns %}
        /** {{ c.doc }} */
{% if c.kind == "text" %}
        public Row {{ c.id }}(String value) { texts[{{ loop.index0 }}] = value; return this; }
{% elif c.kind == "bool" and c.nullable %}
        public Row {{ c.id }}(Boolean value) { numbers[{{ loop.index0 }}] = value == null ? Double.NaN : value ? 1 : 0; return this; }
{% elif c.kind == "bool" %}
        public Row {{ c.id }}(boolean value) { numbers[{{ loop.index0 }}] = value ? 1 : 0; return this; }
{% else %}
        public Row {{ c.id }}(double value) { numbers[{{ loop.index0 }}] = value; return this; }
{% endif %}
{% endfor %}
    }

    /** The model's answer; IllegalArgumentException for a row that the model does not take. */
    public static {{ answer }} predict(Row row) {
{% if labels %}
        return ({{ boxed }}) WALKER.labels[WALKER.index(WALKER.scores(row.numbers, row.texts))];
{% elif answer == "double[]" %}
        return WALKER.link(WALKER.scores(row.numbers, row.texts));
{% else %}
        return WALKER.link(WALKER.scores(row.numbers, row.texts))[0];
{% endif %}
    }
{% if labels %}

    /** The labels, in the order of the probabilities. */
    public static {{ answer }}[] labels() {
        {{ answer }}[] out = new {{ answer }}[WALKER.labels.length];
        for (int i = 0; i < out.length; i++) out[i] = ({{ boxed }}) WALKER.labels[i];
        return out;
    }
{% endif %}
{% if proba %}

    /** The probability of each label. */
    public static double[] predictProba(Row row) {
        return WALKER.link(WALKER.scores(row.numbers, row.texts));
    }
{% endif %}

    /** --selftest: answers the kept examples again and compares with what the notebook's model said. */
    public static void main(String[] args) {
        if (args.length != 1 || !args[0].equals("--selftest")) {
            System.err.println("java -cp ... {{ package }}.{{ type }} --selftest");
            System.exit(2);
        }
        double worst = WALKER.selftest();
        int n = WALKER.exampleNumbers.length;
        System.out.println(BUNDLE + " " + BUNDLE_SHA256 + ": " + n + " examples, largest difference " + worst);
        System.exit(worst <= 1e-9 ? 0 : 1);
    }
}
{% endautoescape %}
