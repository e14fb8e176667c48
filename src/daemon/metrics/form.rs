//! The two forms in which figures are handed out. Prometheus asks for `OpenMetrics`; others, and `promtool check
//! metrics`, read the older text format alone.

use std::fmt::Write as _;

const OPEN_METRICS: &str = "application/openmetrics-text";
const TEXT: &str = "text/plain";

/// How figures are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `OpenMetrics`, as the figures are made.
    OpenMetrics,
    /// Prometheus' text format, which every scraper reads.
    Text,
}

impl Form {
    /// The form that a request's `Accept` asks for. Whoever does not name `OpenMetrics` may not know it.
    pub fn wanted(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        let (open, text) = (weight(accept, OPEN_METRICS), weight(accept, TEXT));
        if open > 0.0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// What it is called.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Figures in this form, from what [`super::Metrics::encode`] has written.
    pub fn write(self, figures: String) -> String {
        match self {
            Self::OpenMetrics => figures,
            Self::Text => as_text(&figures),
        }
    }
}

/// How much a media type is wanted, from 0 to 1.
fn weight(accept: &str, media_type: &str) -> f32 {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(media_type) {
            return None;
        }
        let weight = parts.find_map(|part| part.strip_prefix("q=").map(str::parse::<f32>));
        Some(weight.map_or(1.0, Result::unwrap_or_default))
    });
    ranges.fold(0.0, f32::max)
}

/// `OpenMetrics` names a family without its samples' suffix; the text format names it as its samples.
fn as_text(figures: &str) -> String {
    let mut text = String::with_capacity(figures.len());
    let mut help = None;
    for line in figures.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = told.split_once(' ') else {
                continue;
            };
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(named, _)| *named == name) {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        for (accept, form) in [
            (None, Form::Text),
            (Some("*/*"), Form::Text),
            (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Form::Text),
            // Prometheus 2 and 3.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.8,\
                     application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Form::OpenMetrics,
            ),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                     application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;q=0.3,*/*;q=0.2",
                ),
                Form::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text;q=0.1, text/plain"),
                Form::Text,
            ),
            (Some("Application/OpenMetrics-Text"), Form::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Form::Text),
            (Some("application/openmetrics-text;q=much"), Form::Text),
        ] {
            assert_eq!(Form::wanted(accept), form, "{accept:?}");
        }
    }

    #[test]
    fn the_text_format_names_families_as_their_samples() {
        let figures = "\
# HELP a_rounds Rounds, by how they ended.
# TYPE a_rounds counter
a_rounds_total{result=\"done\"} 3
# HELP a_build Which.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_age_seconds Age.
# TYPE a_age_seconds gauge
# UNIT a_age_seconds seconds
a_age_seconds 5
# EOF
";
        let text = "\
# HELP a_rounds_total Rounds, by how they ended.
# TYPE a_rounds_total counter
a_rounds_total{result=\"done\"} 3
# HELP a_build_info Which.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_age_seconds Age.
# TYPE a_age_seconds gauge
a_age_seconds 5
";
        assert_eq!(Form::Text.write(figures.to_owned()), text);
        assert_eq!(Form::OpenMetrics.write(figures.to_owned()), figures);
    }
}
