//! Random pairs of states, in every form that a state can have.

use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::state::Sizes;
use super::{Change, Diff, DiffKind, Operation, Source};
use crate::SaveOptions;
use crate::error::ErrorCode;
use crate::memory::MemoryStorage;
use crate::snapshots;
use crate::timeline::{OnConflict, Timeline};

/// So small that values are in several parts.
const SMALL: Sizes = Sizes { whole: 0, part: 7 };

fn of_bytes(before: &[u8], after: &[u8]) -> Diff<MemoryStorage> {
    let storage = MemoryStorage::default();
    Diff::open(&storage, Source::Bytes(before.to_vec()), Source::Bytes(after.to_vec())).unwrap()
}

fn read(diff: &mut Diff<MemoryStorage>, max: u32) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = diff.read(max).unwrap();
        assert!(bytes.len() <= max as usize);
        if bytes.is_empty() {
            return all;
        }
        all.extend_from_slice(&bytes);
    }
}

fn changes(before: &str, after: &str) -> Vec<Change> {
    let mut diff = of_bytes(before.as_bytes(), after.as_bytes());
    let mut all = Vec::new();
    loop {
        let page = diff.next(2).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Operation and path of each change.
fn places(before: &str, after: &str) -> Vec<(&'static str, String)> {
    changes(before, after).into_iter().map(|change| (change.operation.as_str(), change.path)).collect()
}

/// Stores two states in several forms.
fn forms(before: &[u8], after: &[u8]) -> (MemoryStorage, Vec<(Source, Source)>) {
    let storage = MemoryStorage::default();
    let options = SaveOptions { agent_id: "agent".to_owned(), session_id: "session".to_owned(), ..SaveOptions::default() };
    snapshots::save(&storage, "one.json.gz", before, options.clone()).unwrap();
    snapshots::save(&storage, "other.json.zst", after, options.clone()).unwrap();
    storage.put("one.json", before.to_vec());
    storage.put("other.json", after.to_vec());
    let mut timeline = Timeline::new(storage.clone(), "agent/session/");
    timeline.append(before.to_vec(), &options, OnConflict::Fail, None).unwrap();
    timeline.append(after.to_vec(), &options, OnConflict::Fail, None).unwrap();
    let object = |key: &str| Source::Object(key.to_owned());
    let stored = |key: &str| Source::Stored(key.to_owned());
    let steps = (stored("agent/session/000000000001.step"), stored("agent/session/000000000002.step"));
    let forms = vec![(object("one.json"), object("other.json")), (stored("one.json.gz"), stored("other.json.zst")), steps];
    (storage, forms)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        // Eighths are exact, so that no reader rounds them.
        (-1000_i32..1000).prop_map(|eighths| Number::from_f64(f64::from(eighths) / 8.0).map_or(Value::Null, Value::Number)),
        "[a-c/~\"\\\\\u{e9}\u{1f600}\n]{0,5}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::btree_map("[a-c/~\"\u{e9}]{0,3}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An edit of a value somewhere in a state: which place, counted over all values, and what.
type Edit = (prop::sample::Index, u8, Value);

fn places_in(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(places_in).sum(),
        Value::Object(members) => members.values().map(places_in).sum(),
        _ => 0,
    }
}

fn edit(value: &mut Value, mut place: usize, kind: u8, new: &Value) {
    if place == 0 {
        match (value, kind) {
            (Value::Array(elements), 0) => elements.push(new.clone()),
            (Value::Array(elements), 1) => elements.insert(0, new.clone()),
            (Value::Array(elements), 2) => elements.truncate(elements.len() / 2),
            (Value::Object(members), 0) => drop(members.insert("new".to_owned(), new.clone())),
            (Value::Object(members), 1) => members.retain(|name, _| name.len() > 1),
            (value, _) => *value = new.clone(),
        }
        return;
    }
    place -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(elements) => elements.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let inside = places_in(child);
        if place < inside {
            return edit(child, place, kind, new);
        }
        place -= inside;
    }
}

fn edited(value: &Value, edits: &[Edit]) -> Value {
    let mut value = value.clone();
    for (at, kind, new) in edits {
        let place = at.index(places_in(&value));
        edit(&mut value, place, *kind, new);
    }
    value
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, value()), 0..6)
}

fn patched(before: &Value, patch: &[u8]) -> Value {
    let patch: json_patch::Patch =
        serde_json::from_slice(patch).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(patch)));
    let mut patched = before.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    patched
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The patch of any two states, applied by another library to the first, gives the second.
    #[test]
    fn a_patch_gives_the_second_state(before in value(), edits in edits(), unrelated in proptest::option::weighted(0.2, value()), pretty in any::<bool>(), max in 1_u32..100) {
        let after = unrelated.unwrap_or_else(|| edited(&before, &edits));
        let one = serde_json::to_vec(&before).unwrap();
        let other = if pretty { serde_json::to_vec_pretty(&after) } else { serde_json::to_vec(&after) }.unwrap();
        let mut diff = of_bytes(&one, &other);
        prop_assert!(matches!(diff.kind(), DiffKind::Equal | DiffKind::Json));
        if diff.kind() == DiffKind::Json {
            prop_assert_eq!(patched(&before, &read(&mut diff, max)), after);
        } else {
            prop_assert_eq!(&before, &after);
        }
    }

    /// A text diff, applied by another library, gives the second text.
    #[test]
    fn a_text_diff_gives_the_second_text(before in "([ab]{0,3}\n){0,30}[ab]{0,3}", after in "([ab]{0,3}\n){0,30}[ab]{0,3}", max in 1_u32..100) {
        let mut diff = of_bytes(before.as_bytes(), after.as_bytes());
        prop_assert!(matches!(diff.kind(), DiffKind::Equal | DiffKind::Text));
        let hunks = format!("--- a\n+++ b\n{}", String::from_utf8(read(&mut diff, max)).unwrap());
        let patched = if diff.kind() == DiffKind::Equal { before.clone() } else { diffy::apply(&before, &diffy::Patch::from_str(&hunks).unwrap()).unwrap() };
        prop_assert_eq!(patched, after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The form of the states, and in how many parts they are read, makes no difference.
    #[test]
    fn all_forms_of_a_state_have_the_same_differences(before in value(), edits in edits()) {
        let (one, other) = (serde_json::to_vec(&before).unwrap(), serde_json::to_vec_pretty(&edited(&before, &edits)).unwrap());
        let expected = of_bytes(&one, &other);
        let kind = expected.kind();
        let (storage, forms) = forms(&one, &other);
        for (before_form, after_form) in forms {
            for sizes in [SMALL, super::SIZES] {
                let mut diff = Diff::open_with(&storage, before_form.clone(), after_form.clone(), sizes).unwrap();
                prop_assert_eq!(diff.kind(), kind);
                if kind == DiffKind::Json {
                    prop_assert_eq!(patched(&before, &read(&mut diff, 1000)), edited(&before, &edits));
                }
            }
        }
    }
}

#[test]
fn messages_are_compared_by_position() {
    let before = r#"{"messages": ["a", "b", "c"], "agent": {"temperature": 0.2}}"#;
    let after = r#"{"agent": {"temperature": 0.7}, "messages": ["a", "b", "c", "d", "e"]}"#;
    let expected = [("replace", "/agent/temperature"), ("add", "/messages/3"), ("add", "/messages/4")];
    assert_eq!(places(before, after), expected.map(|(operation, path)| (operation, path.to_owned())));
    let change = &changes(before, after)[0];
    assert_eq!((change.before.as_ref().unwrap().text.as_str(), change.after.as_ref().unwrap().text.as_str()), ("0.2", "0.7"));
}

#[test]
fn removed_elements_are_shown_at_their_first_positions() {
    let expected = [("remove", "/1".to_owned()), ("remove", "/2".to_owned()), ("add", "/2".to_owned())];
    assert_eq!(places("[0,1,2,3]", "[0,3,4]"), expected);
    let mut diff = of_bytes(b"[0,1,2,3]", b"[0,3,4]");
    let patch: Value = serde_json::from_slice(&read(&mut diff, 1000)).unwrap();
    assert_eq!(patch[1], json!({"op": "remove", "path": "/1"}), "each patch applies after the ones before it");
}

#[test]
fn equal_values_have_no_changes_however_they_are_written() {
    let before = r#"{"a":1,"b":"\u00e9\ud83d\ude00\/"}"#;
    let after = "{ \"b\" : \"é😀/\",\n\"a\" : 1 }";
    assert_eq!(changes(before, after), []);
    let mut diff = of_bytes(before.as_bytes(), after.as_bytes());
    assert_eq!((diff.kind(), read(&mut diff, 10).as_slice()), (DiffKind::Json, b"[]\n".as_slice()));
    assert_eq!(of_bytes(b"[1]", b"[1]").kind(), DiffKind::Equal);
    assert_eq!(places("[1]", "[1.0]"), [("replace", "/0".to_owned())]);
}

#[test]
fn names_that_no_path_can_have_replace_their_object() {
    let twice = (r#"{"x":{"a":1,"a":2}}"#, r#"{"x":{"a":1,"a":3}}"#);
    let surrogate = (r#"{"x":{"\ud800":1}}"#, r#"{"x":{"\ud800":2}}"#);
    for (before, after) in [twice, surrogate] {
        assert_eq!(places(before, after), [("replace", "/x".to_owned())]);
    }
    let long = |value: u8| format!("{{\"x\":{{\"{}\":{value}}}}}", "n".repeat(70_000));
    assert_eq!(places(&long(1), &long(2)), [("replace", "/x".to_owned())]);
    assert_eq!(places(r#"{"\ud800x":1,"\ud83dx":0}"#, r#"{"\ud83dx":0,"\uD800x":1}"#), []);
}

#[test]
fn long_arrays_are_compared_by_element() {
    let numbers = |count: u32, changed: u32| {
        let numbers: Vec<String> = (0..count).map(|number| (if number == changed { 7 } else { number }).to_string()).collect();
        format!("[[\"first\"],[{}]]", numbers.join(","))
    };
    let (before, after) = (numbers(300_000, 5), numbers(299_998, 290_000));
    let found = places(&before, &after);
    let expected = [("replace", "/1/5"), ("replace", "/1/290000"), ("remove", "/1/299998"), ("remove", "/1/299999")];
    assert_eq!(found, expected.map(|(operation, path)| (operation, path.to_owned())));
    let mut diff = of_bytes(before.as_bytes(), after.as_bytes());
    let patched = patched(&serde_json::from_str(&before).unwrap(), &read(&mut diff, 1 << 20));
    assert!(patched == serde_json::from_str::<Value>(&after).unwrap());
}

#[test]
fn large_objects_and_deep_values_are_replaced() {
    let object = |value: u32| {
        let members: Map<String, Value> = (0..270_000).map(|number| (number.to_string(), json!(value))).collect();
        serde_json::to_string(&json!({ "x": members })).unwrap()
    };
    assert_eq!(places(&object(1), &object(2)), [("replace", "/x".to_owned())]);
    let nested = |depth: usize, value: &str| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(places(&nested(20, "1"), &nested(20, "2")), [("replace", "/0".repeat(20))]);
    assert_eq!(places(&nested(500, "1"), &nested(500, "2")), [("replace", "/0".repeat(128))]);
    assert_eq!(of_bytes(nested(1001, "1").as_bytes(), nested(1001, "2").as_bytes()).kind(), DiffKind::Text);
}

#[test]
fn what_is_not_json_is_text_or_binary() {
    let kinds = |other: &[u8]| of_bytes(b"{}", other).kind();
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\":}",
        "01",
        "1.",
        "nul",
        "[1] x",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\ud8\"",
        "{\"a\" 1}",
        "[1 2]",
        "NaN",
        "{1:2}",
        "+1",
    ] {
        assert_eq!(kinds(text.as_bytes()), DiffKind::Text, "{text}");
    }
    for json in ["[]", " null ", "-0.5e+3", "\"\\u00e9\"", "{\"a\":[true,false]}"] {
        assert_eq!(kinds(json.as_bytes()), DiffKind::Json, "{json}");
    }
    assert_eq!(kinds(b"\xff{}"), DiffKind::Binary);
    assert_eq!(read(&mut of_bytes(b"{}", b"\xff"), 5), b"Binary states differ: 2 bytes and 1 bytes\n");
    // Bytes that are cut between two parts.
    let storage = MemoryStorage::default();
    for (text, kind) in [("aaaaaa\u{e9}\u{1f600}", DiffKind::Text), ("aaaaaaaaaaaa\u{1f600}", DiffKind::Text)] {
        storage.put("one", text.as_bytes().to_vec());
        let open = || Diff::open_with(&storage, Source::Object("one".into()), Source::Bytes(b"x".to_vec()), SMALL).unwrap();
        assert_eq!(open().kind(), kind);
        storage.put("one", text.as_bytes()[..text.len() - 1].to_vec());
        assert_eq!(open().kind(), DiffKind::Binary);
    }
}

#[test]
fn excerpts_are_short_and_have_no_white_space() {
    let (before, after) = ("[0]".to_owned(), format!("[ {{ \"a b\" : [ 1,\n2 ] , \"long\": \"{}\" }} ]", "é".repeat(300)));
    let change = changes(&before, &after).remove(0);
    let after = change.after.unwrap();
    assert!(after.text.starts_with("{\"a b\":[1,2],\"long\":\"éé") && after.is_cut, "{}", after.text);
    assert!(after.text.len() <= 200 && after.size > 600, "{} {}", after.text.len(), after.size);
    assert_eq!(change.operation, Operation::Replace);
}

#[test]
fn texts_of_too_many_lines_are_different_and_no_more() {
    let before: String = "x\n".repeat((1 << 20) + 5);
    for after in [format!("{before}y"), "y\n".repeat((1 << 20) + 5)] {
        let mut diff = of_bytes(before.as_bytes(), after.as_bytes());
        assert_eq!(diff.kind(), DiffKind::Binary);
        let expected = format!(
            "Texts differ: 2097162 bytes and {} bytes; texts of more than 1048576 lines are not compared line by line\n",
            after.len()
        );
        assert_eq!(String::from_utf8(read(&mut diff, 1 << 20)).unwrap(), expected);
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let mut diff = of_bytes(b"1", b"2");
    for limit in [0, 1001] {
        assert_eq!(diff.next(limit).unwrap_err().code, ErrorCode::InvalidArgument);
    }
    assert_eq!(diff.read(0).unwrap(), b"");
    let storage = MemoryStorage::default();
    for source in
        [Source::Object("missing".into()), Source::Stored("missing.json.gz".into()), Source::Stored("a/b/000000000001.step".into())]
    {
        let error = Diff::open(&storage, source, Source::Bytes(Vec::new())).err().unwrap();
        assert_eq!(error.code, ErrorCode::NotFound);
    }
}

#[test]
fn the_order_of_equal_names_counts() {
    for (before, after, path) in [
        (r#"{"k":1,"k":2}"#, r#"{"k":2,"k":1}"#, ""),
        (r#"{"a":1,"b":{"k":1,"k":2}}"#, r#"{"a":1,"b":{"k":2,"k":1}}"#, "/b"),
        (r#"[{"x":[{"k":1,"k":2}]}]"#, r#"[{"x":[{"k":2,"k":1}]}]"#, "/0/x/0"),
    ] {
        let changes = changes(before, after);
        let paths: Vec<_> = changes.iter().map(|change| (change.operation, change.path.as_str())).collect();
        assert_eq!(paths, [(Operation::Replace, path)], "{before}");
    }
    assert_eq!(changes(r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2,"x":1}}"#), []);
}

#[test]
fn each_part_of_a_large_state_is_read_once_for_a_page_of_differences() {
    let members: Vec<String> = (0..1000).map(|number| format!(r#""{number}":"#)).collect();
    let before: Vec<String> = members.iter().map(|name| format!("{name}1")).collect();
    let order = || (0..1000).map(|number| number * 387 % 1000);
    let after: Vec<String> = order().map(|number| format!("{}2", members[number])).collect();
    let storage = MemoryStorage::default();
    storage.put("one.json", format!("{{{}}}", before.join(",")).into_bytes());
    storage.put("other.json", format!("{{{}}}", after.join(",")).into_bytes());
    let sizes = Sizes { whole: 0, part: 100 };
    let object = |key: &str| Source::Object(key.to_owned());
    let mut diff = Diff::open_with(&storage, object("one.json"), object("other.json"), sizes).unwrap();
    let earlier = storage.reads().len();
    let changes = diff.next(1000).unwrap();
    assert!(changes.iter().zip(order()).all(|(change, number)| {
        let text = |excerpt: &Option<super::Excerpt>| excerpt.as_ref().unwrap().text.clone();
        (change.path.as_str(), text(&change.before), text(&change.after)) == (&format!("/{number}"), "1".into(), "2".into())
    }));
    // Each state has about 80 parts, which are also read to compare the members.
    let reads = storage.reads().len() - earlier;
    assert!(reads < 500, "{reads} reads");
}
