use jiff::civil::date;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("45d", "45 days")]
#[case("45 days", "45 days")]
#[case("1 day", "1 day")]
#[case("6 months", "6 months")]
#[case("1 month", "1 month")]
#[case("4h", "4h")]
#[case("30m", "30m")]
#[case("10min", "10m")]
#[case("100ms", "100ms")]
#[case("2 seconds", "2s")]
#[case("2w", "2 weeks")]
#[case("1 quarter", "1 quarter")]
#[case("1y", "1 year")]
#[case("0s", "0s")]
#[case("007d", "7 days")]
fn a_number_and_a_unit_is_a_duration(#[case] text: &str, #[case] canonical: &str) {
    let span: Span = text.parse().unwrap();
    assert_eq!(span.to_string(), canonical);
}

#[rstest]
#[case("90", "\"90\" has no unit: write for example \"90 days\" or \"90s\"")]
#[case("90 ", "\"90\" has no unit: write for example \"90 days\" or \"90s\"")]
#[case("", "\"\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
#[case("-1d", "\"-1d\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
#[case("1.5h", "\"1.5h\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
#[case("1h30m", "\"1h30m\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
#[case("1  day", "\"1  day\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
#[case("١d", "\"١d\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
#[case(
    "6M",
    "\"6M\" has the unknown unit \"M\": use ms, s, m (minutes), h, d, w, months, quarters or years, or their full names"
)]
#[case("1000000000ms", "\"1000000000ms\" is too large: a duration has at most nine digits; use a larger unit")]
#[case("99999999999999999999d", "\"99999999999999999999d\" is too large: a duration has at most nine digits; use a larger unit")]
fn anything_else_is_refused_with_the_next_step(#[case] text: &str, #[case] message: &str) {
    assert_eq!(text.parse::<Span>().unwrap_err().to_string(), message);
}

/// Class A (#696): `retention = 90` was read as seconds and detached every partition.
#[rstest]
#[case("90")]
#[case("1.5")]
#[case("-7")]
fn a_bare_number_is_never_guessed_to_be_seconds_or_days(#[case] json: &str) {
    let error = serde_json::from_str::<Span>(json).unwrap_err().to_string();
    assert!(error.contains(&format!("the bare number {json} is not accepted: write a duration such as")), "{error}");
}

#[test]
fn other_json_types_name_what_is_expected() {
    let error = serde_json::from_str::<Span>("true").unwrap_err().to_string();
    assert!(error.contains("expected a duration such as \"45 days\" or \"30m\" as a string"), "{error}");
}

#[rstest]
#[case(Span::new(100, SpanUnit::Millisecond), Duration::from_millis(100))]
#[case(Span::new(30, SpanUnit::Minute), Duration::from_secs(1_800))]
#[case(Span::new(45, SpanUnit::Day), Duration::from_secs(45 * 86_400))]
#[case(Span::new(u32::MAX, SpanUnit::Week), Duration::from_secs(999_999_999 * 604_800))]
fn fixed_units_have_an_exact_length(#[case] span: Span, #[case] expected: Duration) {
    assert_eq!(span.to_std(), Ok(expected));
}

#[test]
fn months_have_no_fixed_length() {
    let error = Span::new(6, SpanUnit::Month).to_std().unwrap_err();
    assert_eq!(error.to_string(), "\"6 months\" has no fixed length: use weeks, days or a smaller unit here");
}

#[rstest]
#[case("1 month", "2024-02-29T00:00:00+01:00[Europe/Berlin]")]
#[case("1 day", "2024-02-01T00:00:00+01:00[Europe/Berlin]")]
#[case("1 quarter", "2024-04-30T00:00:00+02:00[Europe/Berlin]")]
#[case("2 years", "2026-01-31T00:00:00+01:00[Europe/Berlin]")]
#[case("36h", "2024-02-01T12:00:00+01:00[Europe/Berlin]")]
fn adding_steps_the_calendar_of_the_zone(#[case] span: Span, #[case] expected: &str) {
    let at = date(2024, 1, 31).to_zoned(TimeZone::get("Europe/Berlin").unwrap()).unwrap();
    assert_eq!(span.add_to(&at).unwrap().to_string(), expected);
}

#[test]
fn six_months_before_the_last_of_august_is_the_last_of_february() {
    let at = date(2025, 8, 31).to_zoned(TimeZone::UTC).unwrap();
    let earlier = Span::new(6, SpanUnit::Month).subtract_from(&at).unwrap();
    assert_eq!(earlier.date(), date(2025, 2, 28));
}

#[test]
fn a_sum_beyond_the_calendar_is_an_error_with_a_next_step() {
    let at = date(2025, 8, 31).to_zoned(TimeZone::UTC).unwrap();
    let error = Span::new(9_000, SpanUnit::Year).add_to(&at).unwrap_err();
    let expected = "adding or subtracting \"9000 years\" leaves the years -9999 to 9999: use a shorter duration";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_schema_is_a_described_string_with_a_pattern() {
    let schema = serde_json::to_value(schemars::schema_for!(Span)).unwrap();
    assert_eq!(schema["type"], "string");
    assert_eq!(schema["pattern"], PATTERN);
    assert!(schema["description"].is_string());
}

fn unit() -> impl Strategy<Value = SpanUnit> {
    use SpanUnit::{Day, Hour, Millisecond, Minute, Month, Quarter, Second, Week, Year};
    prop::sample::select(vec![Millisecond, Second, Minute, Hour, Day, Week, Month, Quarter, Year])
}

proptest! {
    #[test]
    fn the_canonical_text_reads_back(n: u32, unit in unit()) {
        let span = Span::new(n, unit);
        prop_assert_eq!(span.to_string().parse(), Ok(span));
        let json = serde_json::to_string(&span).unwrap();
        prop_assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), span);
    }

    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<Span>();
    }

    #[test]
    fn no_arithmetic_panics(n: u32, unit in unit(), second in -377_705_023_201_i64..=253_402_207_200) {
        let at = jiff::Timestamp::from_second(second).unwrap().to_zoned(TimeZone::UTC);
        let span = Span::new(n, unit);
        if let Ok(later) = span.add_to(&at) {
            prop_assert!(later >= at);
        }
        if let Ok(earlier) = span.subtract_from(&at) {
            prop_assert!(earlier <= at);
        }
    }
}
