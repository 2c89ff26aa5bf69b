package {{ package }};

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** Walks the tables of a model: the same source for every model; the numbers are in a resource. Safe for threads. */
final class Walker {
    static final int NUMBER = 0, BOOL = 1, TEXT = 2;
    private static final int SCALE = 0, AFFINE = 1, IMPUTE = 2, SELECT = 3, PROJECT = 4, NORMALIZE = 5;
    private static final int IDENTITY = 0, EXP = 1, EXPIT = 2, SOFTMAX = 3, SOFTMAX2 = 4, OVR = 5, MEAN = 6;
    private static final int BY_PROBABILITY = 0, BY_SIGN = 1, BY_SCORE = 2;

    record Column(String name, int kind, boolean whole, boolean nullable, double low, double high) {}

    private record Lookup(Map<Object, Integer> keys, int missing, boolean refuse, int[] place, double[] codes,
                          double unknown, int width) {}

    private record Step(int op, double[] a, double[] b, double[] c, int[] columns, double low, double high) {}

    private record Part(int[] columns, Lookup[] lookups, Step[] steps) {}

    final Column[] columns;
    final Object[] labels;              // null: a regressor
    final double[][] exampleNumbers;
    final String[][] exampleTexts;
    final double[][] exampleAnswers;    // the number of a label, or the answer
    final double[][] exampleProba;      // null: none
    private final Part[] parts;
    private final Step[] steps;
    private final boolean trees, single, finite, twice;
    private final int outputs, features, link, decide;
    private final double[] coef, intercept;
    private final int[] roots, nodes, groups;   // a node: threshold (where single), feature, left, right
    private final double[] threshold, values, start;
    private final double divide;

    static Walker read(InputStream resource, String name) {
        if (resource == null) throw new IllegalStateException(name + " is not on the class path, beside the classes");
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(resource, 1 << 20))) {
            return new Walker(in, name);
        } catch (IOException e) {
            throw new UncheckedIOException(name + " cannot be read, or is cut off", e);
        }
    }

    private Walker(DataInputStream in, String name) throws IOException {
        if (in.readLong() != 0x6d6c736869700002L) throw new IOException(name + " is no table of this walker");
        columns = new Column[in.readInt()];
        for (int i = 0; i < columns.length; i++)
            columns[i] = new Column(text(in), in.readByte(), in.readBoolean(), in.readBoolean(), in.readDouble(),
                                    in.readDouble());
        parts = new Part[in.readInt()];
        for (int i = 0; i < parts.length; i++) parts[i] = new Part(ints(in), lookups(in), steps(in));
        steps = steps(in);
        trees = in.readBoolean();
        outputs = in.readInt();
        features = in.readInt();
        link = in.readByte();
        decide = in.readByte();
        finite = in.readBoolean();
        coef = doubles(in);
        intercept = doubles(in);
        single = in.readBoolean();
        divide = in.readDouble();
        start = doubles(in);
        groups = ints(in);
        roots = ints(in);
        nodes = ints(in);
        threshold = doubles(in);
        twice = in.readBoolean();
        values = doubles(in);
        labels = labels(in);
        int n = in.readInt();
        exampleNumbers = new double[n][];
        exampleTexts = new String[n][];
        exampleAnswers = new double[n][];
        exampleProba = new double[n][];
        for (int i = 0; i < n; i++) {
            exampleNumbers[i] = doubles(in);
            exampleTexts[i] = new String[columns.length];
            for (int j = 0; j < columns.length; j++)
                if (columns[j].kind == TEXT && in.readBoolean()) exampleTexts[i][j] = text(in);
            exampleAnswers[i] = doubles(in);
            exampleProba[i] = in.readBoolean() ? doubles(in) : null;
        }
        if (in.readLong() != 0x656e646d6c736869L) throw new IOException(name + " does not end where it should");
    }

    private static String text(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static ByteBuffer bytes(DataInputStream in, int n) throws IOException {
        byte[] bytes = new byte[n];
        in.readFully(bytes);
        return ByteBuffer.wrap(bytes);
    }

    private static double[] doubles(DataInputStream in) throws IOException {
        double[] out = new double[in.readInt()];
        for (int i = 0; i < out.length; i += 1 << 17) {
            int n = Math.min(1 << 17, out.length - i);
            bytes(in, 8 * n).asDoubleBuffer().get(out, i, n);
        }
        return out;
    }

    private static int[] ints(DataInputStream in) throws IOException {
        int[] out = new int[in.readInt()];
        for (int i = 0; i < out.length; i += 1 << 17) {
            int n = Math.min(1 << 17, out.length - i);
            bytes(in, 4 * n).asIntBuffer().get(out, i, n);
        }
        return out;
    }

    private static Lookup[] lookups(DataInputStream in) throws IOException {
        Lookup[] out = new Lookup[in.readInt()];
        for (int i = 0; i < out.length; i++) {
            boolean words = in.readBoolean();
            int n = in.readInt();
            Map<Object, Integer> keys = new HashMap<>();
            for (int k = 0; k < n; k++) {
                Object key = words ? text(in) : (Object) (in.readDouble() + 0.0);
                keys.put(key, in.readInt());
            }
            out[i] = new Lookup(keys, in.readInt(), in.readBoolean(), ints(in), doubles(in), in.readDouble(),
                                in.readInt());
        }
        return out;
    }

    private static Step[] steps(DataInputStream in) throws IOException {
        Step[] out = new Step[in.readInt()];
        for (int i = 0; i < out.length; i++)
            out[i] = new Step(in.readByte(), doubles(in), doubles(in), doubles(in), ints(in), in.readDouble(),
                              in.readDouble());
        return out;
    }

    private static Object[] labels(DataInputStream in) throws IOException {
        int kind = in.readByte();
        if (kind == 0) return null;
        Object[] out = new Object[in.readInt()];
        for (int i = 0; i < out.length; i++)
            out[i] = kind == 1 ? text(in) : kind == 2 ? in.readLong() : kind == 3 ? (Object) in.readDouble()
                : (Object) in.readBoolean();
        return out;
    }

    /** Scores before the link: one for each class or output, or one alone. */
    double[] scores(double[] numbers, String[] texts) {
        for (int i = 0; i < columns.length; i++) check(columns[i], numbers[i], texts[i]);
        double[] x;
        if (parts.length == 1) x = block(parts[0], numbers, texts);
        else {
            double[][] blocks = new double[parts.length][];
            int width = 0, at = 0;
            for (int i = 0; i < parts.length; i++) width += (blocks[i] = block(parts[i], numbers, texts)).length;
            x = new double[width];
            for (double[] b : blocks) {
                System.arraycopy(b, 0, x, at, b.length);
                at += b.length;
            }
        }
        x = run(steps, x);
        if (finite)
            for (double v : x)
                if (!Double.isFinite(v)) throw new IllegalArgumentException("the model does not take a missing value here");
        double[] s = trees ? walk(x) : linear(x);
        for (double v : s)
            if (!Double.isFinite(v)) throw new IllegalArgumentException("the model has no finite answer for this row");
        return s;
    }

    private static void check(Column c, double v, String t) {
        if (c.kind == TEXT ? t == null : Double.isNaN(v)) {
            if (c.nullable) return;
            throw new IllegalArgumentException(c.name + " is missing, and training had no missing value here");
        }
        if (c.kind == TEXT) return;
        if (Double.isInfinite(v)) throw new IllegalArgumentException(c.name + " is infinite");
        if (c.whole && v != Math.rint(v)) throw new IllegalArgumentException(c.name + " is no whole number: " + v);
        if (v < c.low || v > c.high)
            throw new IllegalArgumentException(c.name + " is outside " + c.low + " to " + c.high + ": " + v);
    }

    private double[] block(Part p, double[] numbers, String[] texts) {
        if (p.lookups.length == 0) {
            double[] x = new double[p.columns.length];
            for (int i = 0; i < x.length; i++) x[i] = numbers[p.columns[i]];
            return run(p.steps, x);
        }
        int width = 0, at = 0;
        for (Lookup l : p.lookups) width += l.width;
        double[] x = new double[width];
        for (int i = 0; i < p.lookups.length; i++) {
            Lookup l = p.lookups[i];
            Column c = columns[p.columns[i]];
            Object value = c.kind == TEXT ? texts[p.columns[i]] : (Object) (numbers[p.columns[i]] + 0.0);
            boolean missing = value == null || value instanceof Double d && d.isNaN();
            int size = Math.max(l.place.length, l.codes.length);
            int k = missing ? l.missing : l.keys.getOrDefault(value, size);
            if (k == size && l.refuse)
                throw new IllegalArgumentException(c.name + " has a category that training did not have: " + value);
            if (l.place.length == 0) x[at] = k == size ? l.unknown : l.codes[k];
            else if (k < size && l.place[k] >= 0) x[at + l.place[k]] = 1.0;
            at += l.width;
        }
        return run(p.steps, x);
    }

    private static double[] run(Step[] steps, double[] x) {
        for (Step s : steps) {
            double[] y = x;
            switch (s.op) {
                case SCALE:
                    for (int i = 0; i < x.length; i++) {
                        if (s.a.length > 0) x[i] -= s.a[i];
                        if (s.b.length > 0) x[i] /= s.b[i];
                    }
                    break;
                case AFFINE:
                    for (int i = 0; i < x.length; i++) {
                        double v = x[i] * s.a[i] + s.b[i];
                        x[i] = v < s.low ? s.low : v > s.high ? s.high : v;
                    }
                    break;
                case IMPUTE: case SELECT:
                    y = new double[s.columns.length];
                    for (int i = 0; i < y.length; i++) {
                        y[i] = x[s.columns[i]];
                        if (s.op == IMPUTE && Double.isNaN(y[i])) y[i] = s.a[i];
                    }
                    break;
                case PROJECT:
                    y = new double[s.b.length / x.length];
                    for (int i = 0; i < x.length; i++) {
                        double v = s.a.length > 0 ? x[i] - s.a[i] : x[i];
                        for (int j = 0; j < y.length; j++) y[j] += v * s.b[i * y.length + j];
                    }
                    for (int j = 0; j < y.length && s.c.length > 0; j++) y[j] /= s.c[j];
                    break;
                default:
                    double size = 0;
                    for (double v : x)
                        size = s.columns[0] == 0 ? Math.max(size, Math.abs(v)) : size + (s.columns[0] == 1 ? Math.abs(v) : v * v);
                    if (s.columns[0] == 2) size = Math.sqrt(size);
                    for (int i = 0; i < x.length && size != 0; i++) x[i] /= size;
            }
            x = y;
        }
        return x;
    }

    private double[] linear(double[] x) {
        double[] s = new double[outputs];
        for (int k = 0, at = 0; k < outputs; k++) {
            double total = 0;
            for (int i = 0; i < features; i++) total += x[i] * coef[at++];
            s[k] = total + intercept[k];
        }
        return s;
    }

    private double[] walk(double[] x) {
        double[] v = x;
        if (single)   // as the library does: single-precision input
            for (int i = 0; i < x.length; i++)
                if (Double.isInfinite(x[i] = (float) x[i])) throw new IllegalArgumentException("a value is too large");
        if (twice) {  // for nodes where what is missing goes left
            v = new double[2 * x.length];
            for (int i = 0; i < x.length; i++) v[x.length + i] = Double.isNaN(v[i] = x[i]) ? Double.NEGATIVE_INFINITY : x[i];
        }
        double[] total = new double[outputs];
        int t = 0;
        for (; t + 4 <= roots.length; t += 4) {   // four trees at a time: while one waits for memory, others go on
            int a = roots[t], b = roots[t + 1], c = roots[t + 2], d = roots[t + 3];
            while ((a & b & c & d) >= 0) {        // until all are below 0
                a = step(v, a);
                b = step(v, b);
                c = step(v, c);
                d = step(v, d);
            }
            add(total, t, a);
            add(total, t + 1, b);
            add(total, t + 2, c);
            add(total, t + 3, d);
        }
        for (; t < roots.length; t++) {
            int node = roots[t];
            while (node >= 0) node = step(v, node);
            add(total, t, node);
        }
        for (int k = 0; k < outputs; k++) total[k] = (total[k] + start[k]) / divide;
        return total;
    }

    private int step(double[] v, int node) {
        if (node < 0) return node;
        if (single) {
            int at = 4 * node;
            return nodes[at + (v[nodes[at + 1]] <= Float.intBitsToFloat(nodes[at]) ? 2 : 3)];
        }
        int at = 3 * node;
        return nodes[at + (v[nodes[at]] <= threshold[node] ? 1 : 2)];
    }

    private void add(double[] total, int tree, int leaf) {
        if (groups.length > 0) total[groups[tree]] += values[~leaf];
        else for (int k = 0, at = ~leaf * outputs; k < outputs; k++) total[k] += values[at + k];
    }

    private static double expit(double x) {
        double e = Math.exp(-Math.abs(x));
        return x >= 0 ? 1 / (1 + e) : e / (1 + e);
    }

    /** A regressor's answers, or a classifier's probabilities. */
    double[] link(double[] s) {
        double[] p = s.clone();
        double total = 0;
        switch (link) {
            case EXP:
                for (int i = 0; i < p.length; i++) p[i] = Math.exp(s[i]);
                return p;
            case EXPIT: return new double[] {1 - expit(s[0]), expit(s[0])};
            case OVR:
                for (int i = 0; i < p.length; i++) total += p[i] = expit(s[i]);
                break;
            case SOFTMAX: case SOFTMAX2:
                if (link == SOFTMAX2) p = new double[] {-s[0], s[0]};
                double most = p[0];
                for (double v : p) most = Math.max(most, v);
                for (int i = 0; i < p.length; i++) total += p[i] = Math.exp(p[i] - most);
                break;
            default: return p;
        }
        for (int i = 0; i < p.length; i++) p[i] /= total;
        return p;
    }

    /** The number of the label. */
    int index(double[] s) {
        if (decide == BY_SIGN) return s[0] > 0 ? 1 : 0;
        double[] p = decide == BY_SCORE ? s : link(s);
        int best = 0;
        for (int i = 1; i < p.length; i++) if (p[i] > p[best]) best = i;
        return best;
    }

    /** The largest difference between the kept examples' answers and ours; 1 and more for another label. */
    double selftest() {
        double worst = 0;
        for (int i = 0; i < exampleNumbers.length; i++) {
            double[] s = scores(exampleNumbers[i], exampleTexts[i]);
            double[] y = labels == null ? link(s) : new double[] {index(s)};
            for (int k = 0; k < y.length; k++) worst = Math.max(worst, difference(y[k], exampleAnswers[i][k]));
            if (exampleProba[i] == null) continue;
            double[] p = link(s);
            for (int k = 0; k < p.length; k++) worst = Math.max(worst, difference(p[k], exampleProba[i][k]));
        }
        return worst;
    }

    private static double difference(double a, double b) { return Math.abs(a - b) / Math.max(1, Math.abs(b)); }
}
