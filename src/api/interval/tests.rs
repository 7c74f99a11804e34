use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("1 month", "1 month")]
#[case("3 months", "3 months")]
#[case("3h", "3 hours")]
#[case("1 hour", "1 hour")]
#[case("1d", "1 day")]
#[case("2w", "2 weeks")]
#[case("1 quarter", "1 quarter")]
#[case("10 years", "10 years")]
#[case("1000000", "1000000")]
#[case("1_000_000", "1000000")]
#[case("999999999999999999", "999999999999999999")]
fn a_width_is_units_of_time_or_a_step(#[case] text: &str, #[case] canonical: &str) {
    let interval: Interval = text.parse().unwrap();
    assert_eq!(interval.to_string(), canonical);
}

#[rstest]
#[case("0 days", IntervalError::Zero("0 days".into()))]
#[case("0", IntervalError::Zero("0".into()))]
#[case("30m", IntervalError::TooSmall("30m".into()))]
#[case("5 s", IntervalError::TooSmall("5 s".into()))]
#[case("1000000 days", IntervalError::TooLarge("1000000 days".into()))]
#[case("1000000000000000000", IntervalError::TooLarge("1000000000000000000".into()))]
#[case("99999999999999999999999999", IntervalError::TooLarge("99999999999999999999999999".into()))]
#[case("01", IntervalError::Malformed("01".into()))]
#[case("01 day", IntervalError::Malformed("01 day".into()))]
#[case("1__0", IntervalError::Malformed("1__0".into()))]
#[case("1_", IntervalError::Malformed("1_".into()))]
#[case("_1", IntervalError::Malformed("_1".into()))]
#[case("monthly", IntervalError::Malformed("monthly".into()))]
#[case("-1 day", IntervalError::Malformed("-1 day".into()))]
#[case("", IntervalError::Malformed(String::new()))]
fn anything_else_is_refused(#[case] text: &str, #[case] error: IntervalError) {
    assert_eq!(text.parse::<Interval>(), Err(error));
}

#[test]
fn the_refusal_says_what_to_write() {
    let error = "monthly".parse::<Interval>().unwrap_err().to_string();
    assert!(error.contains("write a number and hours, days, weeks, months, quarters or years (\"1 month\")"), "{error}");
}

#[test]
fn an_unquoted_number_is_refused_as_the_api_server_refuses_it() {
    let error = serde_json::from_str::<Interval>("1000000").unwrap_err().to_string();
    assert!(error.contains("the bare number 1000000 is not accepted: write an interval such as"), "{error}");
}

#[test]
fn the_schema_is_a_described_string_with_a_pattern() {
    let schema = serde_json::to_value(schemars::schema_for!(Interval)).unwrap();
    assert_eq!(schema["type"], "string");
    assert_eq!(schema["pattern"], PATTERN);
    assert!(schema["description"].is_string());
}

fn interval() -> impl Strategy<Value = Interval> {
    use IntervalUnit::{Day, Hour, Month, Quarter, Week, Year};
    let unit = prop::sample::select(vec![Hour, Day, Week, Month, Quarter, Year]);
    prop_oneof![
        (1..=999_999_u32, unit).prop_filter_map("in range", |(n, unit)| Interval::time(n, unit)),
        (1..1_000_000_000_000_000_000_u64).prop_filter_map("in range", Interval::step),
    ]
}

proptest! {
    #[test]
    fn the_canonical_text_reads_back(interval in interval()) {
        prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        let json = serde_json::to_string(&interval).unwrap();
        prop_assert_eq!(serde_json::from_str::<Interval>(&json).unwrap(), interval);
    }

    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<Interval>();
    }

    #[test]
    fn no_text_of_digits_and_units_panics(text in "[0-9_]{0,30} ?[a-z]{0,7}") {
        let _ = text.parse::<Interval>();
    }
}
