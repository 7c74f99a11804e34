//! What are the objects called that hold one long stream? A part of an upload must be larger the more of them there are, so memory would grow
//! with an object; a stream is therefore divided into objects of a fixed size, of which each is written in small parts.

/// The key of the segment of this number, from zero: that of the object itself, then `KEY.2`, `KEY.3`, and so on.
pub fn key(key: &str, number: usize) -> String {
    if number == 0 { key.to_owned() } else { format!("{key}.{}", number + 1) }
}

/// The segments of a stream of so many bytes, with the bytes of each; one of all bytes where none is given.
pub fn of(key: &str, bytes: u64, segment: Option<u64>) -> Vec<(String, u64)> {
    let Some(segment) = segment.filter(|segment| *segment > 0) else { return vec![(key.to_owned(), bytes)] };
    let count = bytes.div_ceil(segment).max(1);
    let sizes = (0..count).map(|number| segment.min(bytes - number * segment));
    sizes.enumerate().map(|(number, size)| (self::key(key, number), size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_add_up_to_the_stream_and_none_is_empty_but_for_an_empty_stream() {
        let sizes = |bytes, segment| of("a", bytes, segment).into_iter().map(|(_, size)| size).collect::<Vec<_>>();
        assert_eq!(sizes(25, Some(10)), [10, 10, 5]);
        assert_eq!(sizes(20, Some(10)), [10, 10]);
        assert_eq!((sizes(0, Some(10)), sizes(25, None)), (vec![0], vec![25]));
        let keys: Vec<String> = of("a/data", 25, Some(10)).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a/data", "a/data.2", "a/data.3"]);
    }
}
