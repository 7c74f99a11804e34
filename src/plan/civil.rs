//! Which day is a date? Proleptic Gregorian arithmetic for every year PostgreSQL knows.
//!
//! PostgreSQL counts from 4714 BC to 5874897 AD, jiff from -9999 to 9999, and a partition bound may be any date of PostgreSQL.
//! So days are counted here, and jiff is asked about time zones only.

/// Microseconds in a day without a clock change.
pub(super) const DAY: i128 = 86_400_000_000;
/// Microseconds in an hour.
pub(super) const HOUR: i128 = 3_600_000_000;

/// A date of the proleptic Gregorian calendar with astronomical years: year 0 is 1 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to the last day of the month.
    pub(super) day: i64,
}

impl Date {
    /// `None` when the month or the day does not exist.
    pub(super) const fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        if month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        Some(Self { year, month, day })
    }

    /// Days since 1970-01-01. Exact for every year within ±10^12; the callers stay far inside.
    ///
    /// Years are counted from March, so that the leap day is the last day of its year, in eras of 400 years, which all
    /// have 146 097 days.
    pub(super) const fn to_days(self) -> i64 {
        let year = if self.month > 2 { self.year } else { self.year - 1 };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (self.month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - EPOCH_FROM_ERA
    }

    /// The inverse of [`Date::to_days`].
    pub(super) const fn from_days(days: i64) -> Self {
        let shifted = days.saturating_add(EPOCH_FROM_ERA);
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Self {
            year: era * 400 + year_of_era + if month <= 2 { 1 } else { 0 },
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }

    /// Months since year 0, to compare and to step whole months.
    pub(super) const fn month_number(self) -> i64 {
        self.year * 12 + self.month - 1
    }

    /// The same day of another month, or that month's last day if it is shorter.
    pub(super) fn in_month(self, month_number: i64) -> Self {
        let (year, month) = (month_number.div_euclid(12), month_number.rem_euclid(12) + 1);
        Self { year, month, day: self.day.min(days_in_month(year, month)) }
    }

    /// The ISO 8601 week: its year and its number from 1 to 53. Weeks begin on Monday and belong to the year of their Thursday.
    pub(super) const fn iso_week(self) -> (i64, i64) {
        let days = self.to_days();
        // 1970-01-01 was a Thursday, so Mondays are 4 modulo 7.
        let thursday = days - (days - 4).rem_euclid(7) + 3;
        let year = Self::from_days(thursday).year;
        let new_year = Self { year, month: 1, day: 1 }.to_days();
        (year, (thursday - new_year) / 7 + 1)
    }
}

/// Days from 0000-03-01, where the eras begin, to 1970-01-01.
const EPOCH_FROM_ERA: i64 = 719_468;

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case((1970, 1, 1), 0)]
    #[case((2000, 1, 1), 10_957)]
    #[case((2024, 2, 29), 19_782)]
    #[case((1969, 12, 31), -1)]
    // The first and last days of PostgreSQL: `select date '4714-11-24 BC' - date '1970-01-01'`, and so on.
    #[case((-4713, 11, 24), -2_440_588)]
    #[case((5_874_897, 12, 31), 2_145_042_905)]
    #[case((294_276, 12, 31), 106_762_939)]
    fn a_date_has_a_day_number(#[case] (year, month, day): (i64, i64, i64), #[case] days: i64) {
        let date = Date::new(year, month, day).unwrap();
        assert_eq!(date.to_days(), days);
        assert_eq!(Date::from_days(days), date);
    }

    #[rstest]
    #[case(2023, 2, 29)]
    #[case(1900, 2, 29)]
    #[case(2024, 13, 1)]
    #[case(2024, 0, 1)]
    #[case(2024, 4, 31)]
    #[case(2024, 1, 0)]
    fn a_day_that_does_not_exist_is_no_date(#[case] year: i64, #[case] month: i64, #[case] day: i64) {
        assert_eq!(Date::new(year, month, day), None);
    }

    proptest! {
        #[test]
        fn day_numbers_agree_with_jiff_wherever_jiff_counts(days in -4_371_587_i64..=2_932_896) {
            let jiff = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
            let ours = Date::from_days(days);
            prop_assert_eq!(
                (ours.year, ours.month, ours.day),
                (jiff.year().into(), jiff.month().into(), jiff.day().into())
            );
            let week = jiff.iso_week_date();
            prop_assert_eq!(ours.iso_week(), (week.year().into(), week.week().into()));
        }

        #[test]
        fn every_day_number_of_any_era_reads_back(days in -300_000_000_000_000_i64..300_000_000_000_000) {
            let date = Date::from_days(days);
            prop_assert_eq!(Date::new(date.year, date.month, date.day), Some(date));
            prop_assert_eq!(date.to_days(), days);
        }
    }
}
