//! Records that are events: objects of JSON (RFC 8259).

use std::fmt;

use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer as Json;

/// The deepest nesting of objects and arrays, the event being the first. It is printed within an
/// object, and serde_json reads 127 levels.
const MAX_DEPTH: u8 = 126;

/// The object that this record is, without whitespace around it.
///
/// An object is none here if common parsers, which read the whole line or nothing of it, refuse it:
/// if one of its strings is not Unicode (`"\ud800"`), a number is beyond those of IEEE 754
/// (`1e999`), or it is nested more than 126 deep. Keys may appear twice.
pub(super) fn object(record: &str) -> Option<&str> {
    let object = record.trim_matches([' ', '\t', '\n', '\r']);
    if !object.starts_with('{') || !object.ends_with('}') {
        return None;
    }
    let mut json = Json::from_str(object);
    let value = Value { levels: MAX_DEPTH };
    value.deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(object)
}

/// Reads a value, and keeps nothing of it. [`IgnoredAny`](serde_core::de::IgnoredAny) would not look
/// into strings and numbers, nor limit the depth.
#[derive(Clone, Copy)]
struct Value {
    /// The levels of objects and arrays that may be opened.
    levels: u8,
}

impl Value {
    /// A value in this one, which is an object or an array.
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Value { levels }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while elements.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while members.next_entry_seed(inner, inner)?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_is_an_event_as_it_came() {
        for record in [
            r"{}",
            r#"{"message":"x"}"#,
            "{ \"a\" :\t1 ,\r\n\"b\":[ ] }",
            r#"{"a":null,"b":true,"c":false,"d":-0,"e":1.5E+3,"f":[1,"2",{}]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"":"","\u0000":"\"\\\/\b\f\n\r\t\u00e9\uD83E\uDD80"}"#,
            "{\"é\":\"\u{202e}\u{7f}\u{9b}\u{2028}\u{feff}\u{10ffff}\"}",
            r#"{"a":123456789012345678901234567890,"b":1e308,"c":1e-999}"#,
        ] {
            assert_eq!(object(record), Some(record));
            let spaced = format!("\r\n\t {record} \t\r\n");
            assert_eq!(object(&spaced), Some(record));
            assert!(is_object(&within(record)), "{record}");
        }
    }

    #[test]
    fn anything_else_is_no_event() {
        for record in [
            "",
            " ",
            "x",
            "null",
            "1",
            r#""a""#,
            "[]",
            r#"[{"a":1}]"#,
            "{",
            "}",
            "{}}",
            "{{}}",
            "{}{}",
            "{} {}",
            "{},{}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a" 1}"#,
            r"{1:2}",
            r"{null:2}",
            r"{a:1}",
            r"{'a':1}",
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":.5}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e}"#,
            r#"{"a":0x1}"#,
            r#"{"a":NaN}"#,
            r#"{"a":-Infinity}"#,
            r#"{"a":True}"#,
            r#"{"a":undefined}"#,
            r#"{"a":"b}"#,
            r#"{"a":"\x41"}"#,
            r#"{"a":"\u12"}"#,
            r#"{"a":"\u12g4"}"#,
            "{\"a\":\"\\\u{7f}\"}",
            "{\"a\":\"b\nc\"}",
            "{\"a\":\"b\tc\"}",
            "{\"a\nb\":1}",
            "{\"a\":\"\0\"}",
            "{\"a\":1}\0",
            "{\u{b}}",
            "{\u{a0}}",
            "\u{feff}{}",
            "{}//",
            "{/**/}",
            "{\"a\":1}#}",
            // RFC 8259 allows these two, and many parsers refuse them.
            r#"{"a":1e999}"#,
            r#"{"a":["\ud800"]}"#,
            r#"{"\udc00\ud800":1}"#,
            r#"{"a":"\ud83ex"}"#,
        ] {
            assert_eq!(object(record), None, "{record}");
        }
    }

    #[test]
    fn the_deepest_event_can_be_read_within_its_line() {
        for (open, close) in [("{\"a\":", "}"), ("{\"a\":[", "]}")] {
            let levels = open.len().div_ceil(5);
            let nested = |depth: usize| {
                let times = depth / levels;
                open.repeat(times) + "1" + &close.repeat(times)
            };
            let deepest = nested(126);
            assert_eq!(object(&deepest), Some(&*deepest));
            assert!(is_object(&within(&deepest)));
            assert_eq!(object(&nested(126 + levels)), None);
            assert_eq!(object(&nested(1 << 20)), None);
        }
    }

    /// Writes values, some of them in a way that not all parsers take, or none.
    fn value() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            "-?[0-9]{1,30}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
            "\"([a\u{7f}é \n]|\\\\[\"nu]|\\\\u(d83e|DD80|00e9)){0,4}\"",
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| format!("[ {}]", values.join(",\r"))),
                prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|members| {
                    let member = |(key, value)| format!("{}:{value}", serde_json::Value::from(key));
                    let members: Vec<String> = members.into_iter().map(member).collect();
                    format!("{{{}}}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_objects_that_serde_json_reads_are_the_events(
            record in prop_oneof![
                value(),
                value().prop_map(|value| format!("{{\"a\":{value}}}")),
                "[ \n{}\":,a1\\\\]{0,12}",
            ],
        ) {
            prop_assert_eq!(object(&record).is_some(), is_object(&record), "{}", record);
        }
    }

    fn is_object(json: &str) -> bool {
        let value: Result<serde_json::Value, _> = serde_json::from_str(json);
        value.is_ok_and(|value| value.is_object())
    }

    /// The event as it is printed, with another field.
    fn within(event: &str) -> String {
        format!(r#"{{"conn":1,"event":{event}}}"#)
    }
}
