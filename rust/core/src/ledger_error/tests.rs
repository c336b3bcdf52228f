//! Every error says where and what to do.

use super::*;

/// One example a variant. The match is generated from the examples, so a variant without one does not compile.
macro_rules! examples {
    ($($variant:ident $({ $($field:ident: $value:expr),* })? => $path:expr, $record:expr, $text:expr;)*) => {
        fn has_example(error: &LedgerError) {
            match error { $(LedgerError::$variant $({ $($field: _),* })? => (),)* }
        }
        fn examples() -> Vec<(LedgerError, Option<&'static str>, Option<i64>, &'static str)> {
            vec![$((LedgerError::$variant $({ $($field: $value),* })?, $path, $record, $text)),*]
        }
    };
}

examples! {
    Io { action: "append to", path: "l/j".into(), source: io::Error::other("no space") } => Some("l/j"), None,
        "cannot append to l/j: no space";
    Foreign { file: LedgerFile::Journal, path: "l/j".into() } => Some("l/j"), None,
        "l/j does not start as a journal does; give the path of one or restore it";
    Version { file: LedgerFile::Snapshot, path: "s".into(), found: 2, known: 1 } => Some("s"), None,
        "s is a snapshot of format 2, this release reads 1; use the release that wrote it";
    DamagedJournal { path: "j".into(), offset: 40, next_step: 7 } => Some("j"), None,
        "j is damaged at byte 40, and frames of step 7 follow; restore the file, or resume from a checkpoint before \
         that step, which drops what follows";
    StepsGoBack { path: "j".into(), offset: 40, step: 3, before: 9 } => Some("j"), None,
        "j goes back from step 9 to 3 at byte 40: two runs wrote into it; keep one run a folder and resume from a \
         checkpoint before step 3";
    DamagedSnapshot { path: "s".into() } => Some("s"), None,
        "s is torn or damaged; resume from the checkpoint before it";
    OtherData { path: "s".into(), records: 3, tokens: 9, expected_records: 3, expected_tokens: 8 } => Some("s"), None,
        "s is of other data (3 records, 9 response tokens, not 3 and 8 in the same places); give the data that it was \
         made with";
    StepBefore { path: "j".into(), step: 3, last: 9 } => Some("j"), None,
        "step 3 lies before step 9 in j; open the journal with keep_to to go back";
    Closed { path: "j".into() } => Some("j"), None,
        "j is closed; open the journal again to write to it";
    DamagedFrames { offset: 24 } => None, None,
        "the frames of another rank are damaged at byte 24; resume from the last checkpoint";
    Offsets => None, None,
        "response_offsets must start at 0 and never decrease; prepare the data again";
    TooLarge { entries: 1 << 60 } => None, None,
        "1152921504606846976 entries do not fit into memory; split the data";
    Decay { decay: 1.5 } => None, None,
        "decay 1.5 is out of range; give 0 <= decay < 1";
    RecordOutOfRange { record: -4, records: 3 } => None, Some(-4),
        "record -4 is not among the ledger's 3 records; give the data that it was made with";
    RecordLength { record: 5, found: 3, expected: 2 } => None, Some(5),
        "record 5: 3 values for 2 response tokens; give the data that the ledger was made with";
    ArrayLength { name: "pir", found: 3, expected: 2 } => None, None,
        "pir has length 3, not 2; give arrays that fit each other";
    NotFinite { value: Value::LogpWithout, record: 5, position: 1 } => None, Some(5),
        "record 5: logp_without at position 1 of the response is not a finite number; leave the record out or stop \
         the run";
    TokenOutOfRange { index: 9, tokens: 9 } => None, None,
        "index 9 is not among the ledger's 9 response tokens; give the data that it was made with";
    Counts { bin: 5 } => None, None,
        "count of bin 5 is negative or too large to add; start the histogram from zeros";
    Quantile { quantile: 1.5 } => None, None,
        "quantile 1.5 is out of range; give 0 <= quantile <= 1";
}

#[test]
fn every_variant_says_where_and_what_to_do() {
    for (error, path, record, text) in examples() {
        has_example(&error);
        assert_eq!(error.to_string(), text);
        assert_eq!(error.path(), path.map(Path::new), "{text}");
        assert_eq!(error.record(), record, "{text}");
    }
}

#[test]
fn the_systems_reason_is_the_source() {
    let error = LedgerError::io("open", Path::new("j"))(io::Error::other("no space"));
    assert!(std::error::Error::source(&error).is_some_and(|source| source.to_string() == "no space"));
}
