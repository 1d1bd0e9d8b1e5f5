//! A strict reader of the Prometheus text format, version 0.0.4: whatever a scraper could stumble over is a panic here.

use std::collections::{BTreeMap, BTreeSet};

/// A family: what its `HELP` and `TYPE` lines say, and its samples.
#[derive(Debug)]
pub(crate) struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    /// Each series by its whole name, labels in their order, and its value.
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The family's name, with `_bucket`, `_sum` or `_count` behind it in a histogram.
    pub(crate) name: String,
    /// The labels, by their names.
    pub(crate) labels: BTreeMap<String, String>,
    /// The value.
    pub(crate) value: f64,
}

impl Sample {
    /// Whether it has each of these labels with this value.
    pub(crate) fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|each| each == value))
    }
}

/// All families of one scrape.
#[derive(Debug)]
pub(crate) struct Exposition(pub(crate) BTreeMap<String, Family>);

impl Exposition {
    /// Reads a scrape.
    ///
    /// # Panics
    /// When it breaks the format's rules: see the module.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut families = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("a family begins with {line:?}"));
            let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help in {line:?}"));
            assert!(is_name(name, true) && !help.is_empty(), "{line}");
            let kind =
                lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '));
            let kind = kind.unwrap_or_else(|| panic!("no type of {name}")).to_owned();
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(sample(line));
            }
            let family = Family { kind, samples };
            family.check(name);
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} stands twice");
        }
        Self(families)
    }

    /// The samples under this name, which is a family's, or a histogram's with `_bucket`, `_sum` or `_count`.
    pub(crate) fn samples(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.values().flat_map(|family| &family.samples).filter(move |sample| sample.name == name)
    }

    /// The sum of all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name).filter(|sample| sample.has(labels)).map(|sample| sample.value).sum()
    }

    /// Every series there is.
    pub(crate) fn series(&self) -> BTreeSet<String> {
        let all = self.0.values().flat_map(|family| &family.samples);
        all.map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    }
}

impl Family {
    #[track_caller]
    fn check(&self, name: &str) {
        assert!(!self.samples.is_empty(), "{name} has no sample");
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            assert!(seen.insert((&sample.name, &sample.labels)), "{sample:?} stands twice");
            assert!(sample.value >= 0.0, "{sample:?}");
        }
        match self.kind.as_str() {
            "counter" | "gauge" => {
                assert!(self.samples.iter().all(|sample| sample.name == name), "{name}: {:?}", self.samples);
                assert!(self.kind == "gauge" || name.ends_with("_total"), "{name} counts");
            }
            "histogram" => self.check_histogram(name),
            other => panic!("{name} is a {other}"),
        }
    }

    /// Each series of a histogram is its buckets in rising order, the last one `+Inf`, then its sum and its count.
    #[track_caller]
    fn check_histogram(&self, name: &str) {
        let mut samples = self.samples.iter().peekable();
        while let Some(first) = samples.peek() {
            let mut labels = first.labels.clone();
            labels.remove("le");
            let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
            while let Some(bucket) = samples.next_if(|sample| sample.name == format!("{name}_bucket")) {
                let le = bucket.labels.get("le").unwrap_or_else(|| panic!("{bucket:?} has no bound"));
                let next = if le == "+Inf" { f64::INFINITY } else { le.parse().expect("a bound is a number") };
                assert!(next > bound && bucket.value >= count, "{bucket:?}");
                (bound, count) = (next, bucket.value);
            }
            assert!(bound.is_infinite() && bound > 0.0, "{name}: no +Inf");
            let mut rest = |suffix: &str| {
                let sample = samples.next().unwrap_or_else(|| panic!("{name} ends without {suffix}"));
                assert_eq!((&sample.name, &sample.labels), (&format!("{name}_{suffix}"), &labels));
                sample.value
            };
            rest("sum");
            assert!((rest("count") - count).abs() < f64::EPSILON, "{name}: as many in +Inf as in all");
        }
    }
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, rest) = line.split_at(end);
    assert!(is_name(name, true), "{line}");
    let (labels, value) =
        if let Some(rest) = rest.strip_prefix('{') { labels(rest, line) } else { (BTreeMap::new(), rest) };
    let value = value.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    assert!(value.is_finite(), "{line}");
    Sample { name: name.to_owned(), labels, value }
}

/// Reads labels up to their closing brace; them, and what is behind it.
#[track_caller]
fn labels<'t>(text: &'t str, line: &str) -> (BTreeMap<String, String>, &'t str) {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        let (name, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(name, false), "{line}");
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at + 1,
                Some((_, '\\')) => match chars.next() {
                    Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                    Some((_, 'n')) => value.push('\n'),
                    other => panic!("no escape: {other:?} in {line}"),
                },
                Some((_, plain)) => value.push(plain),
                None => panic!("a value without an end: {line}"),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} stands twice: {line}");
        rest = &quoted[end..];
        if let Some(behind) = rest.strip_prefix('}') {
            return (labels, behind);
        }
        rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("no end of labels: {line}"));
    }
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || may_have_colons && byte == b':';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(fits)
}
