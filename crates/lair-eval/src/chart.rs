//! A chart of models as SVG: size across, loss upwards, each a labelled point; a line joins those that no other beats in
//! both.

use std::fmt::Write;

/// A model in a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartPoint {
    /// What it is called.
    pub label: String,
    /// Across.
    pub x: f64,
    /// Upwards; the less the better.
    pub y: f64,
    /// Standard error of `y`, drawn as a bar.
    pub error: f64,
}

/// What a chart shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x_name: String,
    /// Beside it.
    pub y_name: String,
    /// The models.
    pub points: Vec<ChartPoint>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Values whose greatest is so many times the least are drawn on a logarithmic scale.
const LOGARITHMIC_FROM: f64 = 8.0;

/// For each pair of a size and a loss, whether no other is as good in both and better in one.
pub fn best(pairs: &[(f64, f64)]) -> Vec<bool> {
    let beats = |a: &(f64, f64), b: &(f64, f64)| a.0 <= b.0 && a.1 <= b.1 && (a.0 < b.0 || a.1 < b.1);
    pairs.iter().map(|pair| !pairs.iter().any(|other| beats(other, pair))).collect()
}

/// A scale from values to places.
struct Scale {
    is_logarithmic: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(values: &[f64], from: f64, to: f64) -> Scale {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_logarithmic = low > 0.0 && high / low >= LOGARITHMIC_FROM;
        let (low, high) = if is_logarithmic {
            (low / 1.25, high * 1.25)
        } else {
            let margin = if high > low { 0.08 * (high - low) } else { low.abs().max(1.0) * 0.1 };
            (low - margin, high + margin)
        };
        Scale { is_logarithmic, low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.is_logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values within.
    fn marks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)));
            return all.filter(|mark| (self.low..=self.high).contains(mark)).collect();
        }
        let span = self.high - self.low;
        let rough = 10f64.powf((span / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * rough).into_iter().find(|step| span / step <= 7.0);
        let step = step.unwrap_or(span);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|index| index as f64 * step).take_while(|mark| *mark <= self.high).collect()
    }
}

impl Chart {
    /// The chart; nothing without points, or if a value is not finite.
    pub fn svg(&self) -> Option<String> {
        let is_finite = |point: &ChartPoint| point.x.is_finite() && point.y.is_finite() && point.error.is_finite();
        if self.points.is_empty() || !self.points.iter().all(is_finite) {
            return None;
        }
        let values = |of: fn(&ChartPoint) -> f64| self.points.iter().map(of).collect::<Vec<_>>();
        let across = Scale::new(&values(|point| point.x), LEFT, WIDTH - RIGHT);
        let upwards = Scale::new(&values(|point| point.y), HEIGHT - BOTTOM, TOP);
        let mut out = String::new();
        self.frame(&mut out, &across, &upwards);
        self.line(&mut out, &across, &upwards);
        for (index, point) in self.points.iter().enumerate() {
            let (x, y) = (across.place(point.x), upwards.place(point.y));
            let (high, low) = (upwards.place(point.y + point.error), upwards.place(point.y - point.error));
            put(&mut out, format_args!(r##"<path d="M{x:.1} {high:.1}V{low:.1}" stroke="#888"/>"##));
            put(&mut out, format_args!(r##"<circle cx="{x:.1}" cy="{y:.1}" r="4.5" fill="#1f5fa8"/>"##));
            // Labels of neighbours stand on different sides.
            let is_right_half = x > (LEFT + WIDTH - RIGHT) / 2.0;
            let (dx, anchor) = if is_right_half { (-9.0, "end") } else { (9.0, "start") };
            let dy = if index % 2 == 0 { -7.0 } else { 15.0 };
            let label = escaped(&point.label);
            put(
                &mut out,
                format_args!(r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}">{label}</text>"#, x + dx, y + dy),
            );
        }
        out.push_str("</svg>\n");
        Some(out)
    }

    fn frame(&self, out: &mut String, across: &Scale, upwards: &Scale) {
        put(
            out,
            format_args!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">"#
            ),
        );
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        put(out, format_args!("<title>{}</title>", escaped(&self.title)));
        put(out, format_args!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##));
        for mark in upwards.marks() {
            let y = upwards.place(mark);
            put(out, format_args!(r##"<path d="M{LEFT} {y:.1}H{right}" stroke="#ddd"/>"##));
            put(
                out,
                format_args!(
                    r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                    LEFT - 8.0,
                    y + 4.0,
                    number(mark)
                ),
            );
        }
        for mark in across.marks() {
            let x = across.place(mark);
            put(out, format_args!(r##"<path d="M{x:.1} {TOP}V{bottom}" stroke="#ddd"/>"##));
            put(
                out,
                format_args!(r#"<text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#, bottom + 18.0, number(mark)),
            );
        }
        put(out, format_args!(r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#333"/>"##));
        let middle = (LEFT + right) / 2.0;
        let (x_name, y_name, title) = (escaped(&self.x_name), escaped(&self.y_name), escaped(&self.title));
        put(out, format_args!(r#"<text x="{middle}" y="{}" text-anchor="middle">{x_name}</text>"#, HEIGHT - 16.0));
        let height = (TOP + bottom) / 2.0;
        put(
            out,
            format_args!(
                r#"<text transform="translate(20 {height}) rotate(-90)" text-anchor="middle">{y_name}</text>"#
            ),
        );
        put(out, format_args!(r#"<text x="{middle}" y="28" text-anchor="middle" font-size="15">{title}</text>"#));
    }

    fn line(&self, out: &mut String, across: &Scale, upwards: &Scale) {
        let pairs: Vec<(f64, f64)> = self.points.iter().map(|point| (point.x, point.y)).collect();
        let mut on: Vec<(f64, f64)> =
            pairs.iter().zip(best(&pairs)).filter(|(_, is_best)| *is_best).map(|(pair, _)| *pair).collect();
        on.sort_by(|a, b| a.0.total_cmp(&b.0));
        let places: Vec<String> =
            on.iter().map(|(x, y)| format!("{:.1},{:.1}", across.place(*x), upwards.place(*y))).collect();
        put(
            out,
            format_args!(
                r##"<polyline points="{}" fill="none" stroke="#1f5fa8" stroke-dasharray="4 3"/>"##,
                places.join(" ")
            ),
        );
    }
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line).expect("a string takes all");
    out.push('\n');
}

/// A mark in few digits.
fn number(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(label: &str, x: f64, y: f64) -> ChartPoint {
        ChartPoint { label: label.to_owned(), x, y, error: 0.001 }
    }

    fn chart(points: Vec<ChartPoint>) -> Chart {
        Chart { title: "a < b".to_owned(), x_name: "MB".to_owned(), y_name: "nats".to_owned(), points }
    }

    #[test]
    fn those_that_no_other_beats_are_best() {
        let pairs = [(1.0, 9.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (4.0, 1.0)];
        assert_eq!(best(&pairs), [true, true, false, false, true]);
        // Of two equal ones neither is worse.
        assert_eq!(best(&[(1.0, 1.0), (1.0, 1.0)]), [true, true]);
    }

    #[test]
    fn a_chart_has_a_point_for_each_model_within_its_frame() {
        let svg = chart(vec![point("Q4_0", 80.0, 0.05), point("Q8<0>", 140.0, 0.001), point("F16", 270.0, 0.0002)]);
        let svg = svg.svg().expect("three points");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("a &lt; b") && svg.contains("Q8&lt;0&gt;") && !svg.contains("Q8<0>"));
        for part in svg.split("<circle cx=\"").skip(1) {
            let x: f64 = part.split('"').next().and_then(|x| x.parse().ok()).expect("a number");
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }

    #[test]
    fn one_point_and_none_and_numbers_that_are_none() {
        assert!(chart(vec![point("only", 5.0, 0.0)]).svg().is_some_and(|svg| !svg.contains("NaN")));
        assert_eq!(chart(Vec::new()).svg(), None);
        assert_eq!(chart(vec![point("bad", f64::NAN, 1.0)]).svg(), None);
    }

    #[test]
    fn marks_are_round_and_within() {
        let linear = Scale::new(&[80.0, 140.0], 0.0, 1.0);
        assert_eq!(linear.marks(), [80.0, 90.0, 100.0, 110.0, 120.0, 130.0, 140.0]);
        let logarithmic = Scale::new(&[0.0012, 0.05], 0.0, 1.0);
        assert_eq!(logarithmic.marks(), [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]);
        assert_eq!((number(0.002), number(120.0), number(1500.0)), ("0.002".into(), "120".into(), "1500".into()));
    }
}
