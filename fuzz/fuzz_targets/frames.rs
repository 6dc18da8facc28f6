//! Whatever a client sends: it is judged alike in one piece and in two, and the part that is handed
//! on before a breach holds none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redcar::frames::Frames;

fuzz_target!(|data: &[u8]| {
    let Some((cut, rest)) = data.split_first() else { return };
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let sent = [begin.as_slice(), rest].concat();
    let whole = Frames::new().watch(&mut sent.clone());
    let (mut first, mut frames) = (sent.clone(), Frames::new());
    let mut second = first.split_off((begin.len() + usize::from(*cut)).min(sent.len()));
    let pieces = frames.watch(&mut first).and_then(|()| frames.watch(&mut second));
    assert_eq!(whole.map_err(|(_, fault)| fault), pieces.map_err(|(_, fault)| fault));
    if let Err((good, _)) = whole {
        assert!(good >= begin.len());
        assert_eq!(Frames::new().watch(&mut sent.clone()[..good]), Ok(()));
    }
});
