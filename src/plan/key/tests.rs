use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn key(column_type: ColumnType) -> Key {
    let encoding = match column_type {
        ColumnType::Uuid => Encoding::Uuidv7,
        ColumnType::Text => Encoding::Ulid,
        _ => Encoding::Native,
    };
    Key::new(column_type, encoding).unwrap()
}

const TYPES: [ColumnType; 8] = [
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::Timestamptz,
    ColumnType::Int2,
    ColumnType::Int4,
    ColumnType::Int8,
    ColumnType::Uuid,
    ColumnType::Text,
];

const ENCODINGS: [Encoding; 6] = [
    Encoding::Native,
    Encoding::EpochSeconds,
    Encoding::EpochMilliseconds,
    Encoding::EpochMicroseconds,
    Encoding::Uuidv7,
    Encoding::Ulid,
];

#[test]
fn every_pair_of_type_and_encoding_is_accepted_or_refused_with_a_remedy() {
    let mut table = String::new();
    for column_type in TYPES {
        for encoding in ENCODINGS {
            let verdict = match Key::new(column_type, encoding) {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            table += &format!("{column_type} {encoding:?}: {verdict}\n");
        }
    }
    insta::assert_snapshot!(table);
}

#[rstest]
#[case("timestamp with time zone", ColumnType::Timestamptz)]
#[case("timestamp(3) with time zone", ColumnType::Timestamptz)]
#[case("timestamp(0) without time zone", ColumnType::Timestamp)]
#[case("timestamp without time zone", ColumnType::Timestamp)]
#[case("timestamptz", ColumnType::Timestamptz)]
#[case("bigint", ColumnType::Int8)]
#[case("int4", ColumnType::Int4)]
#[case("character varying(26)", ColumnType::Text)]
#[case("bpchar", ColumnType::Text)]
fn a_type_is_read_as_postgresql_prints_it(#[case] name: &str, #[case] expected: ColumnType) {
    assert_eq!(name.parse(), Ok(expected));
}

#[test]
fn an_unusable_type_is_refused_by_name() {
    let error = "numeric(10,2)".parse::<ColumnType>().unwrap_err().to_string();
    assert!(error.starts_with("a column of type numeric(10,2) cannot be a key here: use date,"), "{error}");
}

/// Every text below was printed by `pg_get_expr(relpartbound, oid)` of a PostgreSQL 15 server.
#[rstest]
#[case(ColumnType::Date, "FOR VALUES FROM ('-infinity') TO ('4713-01-01 BC')", "-infinity", "4713-01-01 BC")]
#[case(ColumnType::Date, "FOR VALUES FROM ('4713-01-01 BC') TO ('0001-01-01')", "4713-01-01 BC", "0001-01-01")]
#[case(ColumnType::Date, "FOR VALUES FROM ('12025-01-01') TO ('5874897-12-31')", "12025-01-01", "5874897-12-31")]
#[case(ColumnType::Date, "FOR VALUES FROM ('5874897-12-31') TO ('infinity')", "5874897-12-31", "infinity")]
#[case(ColumnType::Date, "FOR VALUES FROM ('infinity') TO (MAXVALUE)", "infinity", "MaxValue")]
#[case(ColumnType::Int2, "FOR VALUES FROM ('-32768') TO ('5')", "-32768", "5")]
#[case(ColumnType::Int4, "FOR VALUES FROM ('-5') TO (5)", "-5", "5")]
#[case(ColumnType::Int8, "FOR VALUES FROM ('5') TO ('9223372036854775807')", "5", "9223372036854775807")]
#[case(
    ColumnType::Timestamp,
    "FOR VALUES FROM ('0001-01-01 00:00:00 BC') TO ('0001-01-01 00:00:00')",
    "0001-01-01 00:00:00 BC",
    "0001-01-01 00:00:00"
)]
#[case(
    ColumnType::Timestamptz,
    "FOR VALUES FROM (MINVALUE) TO ('4713-11-24 00:00:00+00 BC')",
    "MinValue",
    "4713-11-24 00:00:00+00 BC"
)]
#[case(
    ColumnType::Timestamptz,
    "FOR VALUES FROM ('2024-12-31 23:00:00.5+00') TO ('2025-01-01 00:00:00.123456+00')",
    "2024-12-31 23:00:00.5+00",
    "2025-01-01 00:00:00.123456+00"
)]
#[case(
    ColumnType::Timestamptz,
    "FOR VALUES FROM ('294276-12-31 23:59:59.999999+00') TO ('infinity')",
    "294276-12-31 23:59:59.999999+00",
    "infinity"
)]
#[case(
    ColumnType::Uuid,
    "FOR VALUES FROM ('01941f29-7c00-0000-0000-000000000000') TO ('ffffffff-ffff-ffff-ffff-ffffffffffff')",
    "01941f29-7c00-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff"
)]
#[case(
    ColumnType::Text,
    "FOR VALUES FROM ('01JGFJJZ000000000000000000') TO ('7ZZZZZZZZZZZZZZZZZZZZZZZZZ')",
    "01JGFJJZ000000000000000000",
    "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
)]
fn bounds_are_read_as_postgresql_prints_them(
    #[case] column_type: ColumnType,
    #[case] expr: &str,
    #[case] lower: &str,
    #[case] upper: &str,
) {
    let key = key(column_type);
    let range = parse_bounds(expr, &key).unwrap();
    assert_eq!((text(range.lower(), &key), text(range.upper(), &key)), (lower.to_owned(), upper.to_owned()));
}

fn text(bound: Bound, key: &Key) -> String {
    bound.value().map_or_else(|| format!("{bound:?}"), |ordinal| literal(&ordinal, key))
}

#[rstest]
#[case(ColumnType::Int4, "DEFAULT", "a default partition has no bounds")]
#[case(
    ColumnType::Int4,
    "FOR VALUES IN (1, 2, NULL)",
    "bounds \"FOR VALUES IN (1, 2, NULL)\" are not a range: only tables partitioned by range are managed"
)]
#[case(
    ColumnType::Int4,
    "FOR VALUES WITH (modulus 4, remainder 0)",
    "bounds \"FOR VALUES WITH (modulus 4, remainder 0)\" are not a range: only tables partitioned by range are managed"
)]
#[case(
    ColumnType::Int4,
    "FOR VALUES FROM (1, 'a') TO (2, MINVALUE)",
    "bounds \"FOR VALUES FROM (1, 'a') TO (2, MINVALUE)\" have more than one column: only tables with a single key column are managed"
)]
#[case(ColumnType::Int4, "FOR VALUES FROM (5) TO (5)", "bounds \"FOR VALUES FROM (5) TO (5)\" hold no value")]
#[case(
    ColumnType::Int4,
    "FOR VALUES FROM (MAXVALUE) TO (MINVALUE)",
    "bounds \"FOR VALUES FROM (MAXVALUE) TO (MINVALUE)\" hold no value"
)]
#[case(ColumnType::Int2, "FOR VALUES FROM ('5') TO ('32768')", "bound \"32768\" is not a smallint")]
#[case(
    ColumnType::Text,
    "FOR VALUES FROM (MINVALUE) TO ('it''s \\ \" x')",
    "bound \"it's \\ \" x\" is not a ULID of 26 upper-case characters"
)]
#[case(
    ColumnType::Text,
    "FOR VALUES FROM (MINVALUE) TO ('01jgfjjz000000000000000000')",
    "bound \"01jgfjjz000000000000000000\" is not a ULID of 26 upper-case characters"
)]
#[case(
    ColumnType::Text,
    "FOR VALUES FROM (MINVALUE) TO ('8ZZZZZZZZZZZZZZZZZZZZZZZZZ')",
    "bound \"8ZZZZZZZZZZZZZZZZZZZZZZZZZ\" is not a ULID of 26 upper-case characters"
)]
#[case(ColumnType::Date, "FOR VALUES FROM ('2023-02-29') TO (MAXVALUE)", "bound \"2023-02-29\" is not a date in ISO style")]
#[case(ColumnType::Date, "FOR VALUES FROM ('01.02.2023') TO (MAXVALUE)", "bound \"01.02.2023\" is not a date in ISO style")]
#[case(ColumnType::Date, "FOR VALUES FROM ('0000-01-01') TO (MAXVALUE)", "bound \"0000-01-01\" is not a date in ISO style")]
#[case(ColumnType::Date, "FOR VALUES FROM ('5874898-01-01') TO (MAXVALUE)", "bound \"5874898-01-01\" is not a date in ISO style")]
#[case(
    ColumnType::Timestamptz,
    "FOR VALUES FROM ('2025-01-01 00:00:00') TO (MAXVALUE)",
    "bound \"2025-01-01 00:00:00\" is not a timestamptz in ISO style with its offset"
)]
#[case(
    ColumnType::Timestamp,
    "FOR VALUES FROM ('2025-01-01 00:00:00+00') TO (MAXVALUE)",
    "bound \"2025-01-01 00:00:00+00\" is not a timestamp in ISO style without an offset"
)]
#[case(
    ColumnType::Int4,
    "FOR VALUES FROM ('5) TO (6)",
    "bounds \"FOR VALUES FROM ('5) TO (6)\" cannot be read: expected FOR VALUES FROM (...) TO (...)"
)]
fn what_is_not_a_range_of_this_key_is_unreadable_and_says_why(
    #[case] column_type: ColumnType,
    #[case] expr: &str,
    #[case] message: &str,
) {
    assert_eq!(parse_bounds(expr, &key(column_type)).unwrap_err().to_string(), message);
}

/// Class C (#373, #383): bounds that another client's zone printed still name the same instant.
#[rstest]
#[case("2025-01-01 01:00:00+01")]
#[case("2024-12-31 18:30:00-05:30")]
#[case("2025-01-01 00:19:32+00:19:32")]
fn an_offset_of_another_zone_is_the_same_instant(#[case] text: &str) {
    let key = key(ColumnType::Timestamptz);
    let range = parse_bounds(&format!("FOR VALUES FROM ('{text}') TO (MAXVALUE)"), &key).unwrap();
    assert_eq!(literal(&range.lower().value().unwrap(), &key), "2025-01-01 00:00:00+00");
}

/// MG #299: a clamp of the 48 bits once produced bounds whose lower end was above the upper one.
#[rstest]
#[case(Encoding::Uuidv7, ColumnType::Uuid, "ffffffff-ffff-0000-0000-000000000000")]
#[case(Encoding::Ulid, ColumnType::Text, "7ZZZZZZZZZ0000000000000000")]
fn identifiers_end_on_the_last_of_48_bits_and_never_wrap(
    #[case] encoding: Encoding,
    #[case] column_type: ColumnType,
    #[case] last: &str,
) {
    let key = Key::new(column_type, encoding).unwrap();
    let last_millisecond = ((1_i128 << 48) - 1) * 1_000;
    let Encoded::Value(ordinal) = key.encode(last_millisecond) else { panic!("the last millisecond exists") };
    assert_eq!(literal(&ordinal, &key), last);
    assert_eq!(key.encode(last_millisecond + 1_000), Encoded::Above);
    assert_eq!(key.encode(i128::MAX), Encoded::Above);
    assert_eq!(key.encode(-1), Encoded::Below);
}

#[rstest]
#[case(0, 10, 10, 20, false, true)]
#[case(0, 10, 9, 20, true, false)]
#[case(0, 10, 20, 30, false, false)]
#[case(0, 30, 10, 20, true, false)]
fn ranges_are_half_open(
    #[case] a: i128,
    #[case] b: i128,
    #[case] c: i128,
    #[case] d: i128,
    #[case] overlaps: bool,
    #[case] adjacent: bool,
) {
    let range = |from, to| Range::new(Bound::Value(Ordinal::new(from)), Bound::Value(Ordinal::new(to))).unwrap();
    let (left, right) = (range(a, b), range(c, d));
    assert_eq!((left.overlaps(&right), right.overlaps(&left)), (overlaps, overlaps));
    assert_eq!((left.is_adjacent_to(&right), right.is_adjacent_to(&left)), (adjacent, adjacent));
    assert_eq!(left.encloses(&right), a <= c && d <= b);
    assert!(left.contains(Ordinal::new(a)) && !left.contains(Ordinal::new(b)));
}

#[test]
fn infinity_is_a_value_below_maxvalue() {
    let key = key(ColumnType::Timestamptz);
    let range = parse_bounds("FOR VALUES FROM ('-infinity') TO ('infinity')", &key).unwrap();
    assert!(range.contains(Ordinal::NEGATIVE_INFINITY) && !range.contains(Ordinal::INFINITY));
    assert!(Bound::MinValue < range.lower() && range.upper() < Bound::MaxValue);
}

/// A key and any finite value of it.
fn any_value() -> impl Strategy<Value = (Key, Ordinal)> {
    (prop::sample::select(TYPES.to_vec()), any::<u128>()).prop_map(|(column_type, random)| {
        let key = key(column_type);
        let limits = key.limits();
        let width = limits.max.wrapping_sub(limits.min).cast_unsigned();
        let offset = if width == u128::MAX { random } else { random % (width + 1) };
        (key, Ordinal::new(limits.min.wrapping_add(offset.cast_signed())))
    })
}

proptest! {
    #[test]
    fn every_value_reads_back_from_its_literal((key, ordinal) in any_value()) {
        let quoted = literal(&ordinal, &key).replace('\'', "''");
        let range = parse_bounds(&format!("FOR VALUES FROM ('{quoted}') TO (MAXVALUE)"), &key).unwrap();
        prop_assert_eq!(range.lower(), Bound::Value(ordinal));
    }

    #[test]
    fn identifiers_sort_as_their_text((key, a) in any_value(), b: u128) {
        let b = Ordinal::from_bits(b);
        if matches!(key.column_type(), ColumnType::Uuid | ColumnType::Text) {
            prop_assert_eq!(a.cmp(&b), literal(&a, &key).cmp(&literal(&b, &key)));
        }
    }

    #[test]
    fn no_text_panics(expr in ".*", column_type in prop::sample::select(TYPES.to_vec())) {
        let _ = parse_bounds(&expr, &key(column_type));
    }

    #[test]
    fn no_bound_panics(value in "[-+0-9:. BCinfty']{0,40}", column_type in prop::sample::select(TYPES.to_vec())) {
        let _ = parse_bounds(&format!("FOR VALUES FROM ('{value}') TO ({value})"), &key(column_type));
    }

    #[test]
    fn no_ordinal_panics(number: i128, column_type in prop::sample::select(TYPES.to_vec())) {
        let (key, ordinal) = (key(column_type), Ordinal::new(number));
        let _ = (literal(&ordinal, &key), key.decode(ordinal), key.encode(number));
    }
}
