//! Exit codes: `code N`, `unit`, `ok`, `err`, `number`, `thread N`.

use alloc::string::String;

use ebbtide::process::{self, ExitCode};
use ebbtide::{print, thread};

use crate::word;

pub fn main() -> Result<ExitCode, String> {
    let number = || word(2).parse::<i32>().map_err(|_| String::from("which number?"));
    match &*word(1) {
        "code" => process::exit(number()?),
        // The last line stands alone all the same.
        "unfinished-line" => {
            print!("no end of line");
            process::exit(0)
        }
        "ok" => Ok(ExitCode::SUCCESS),
        "number" => Ok(ExitCode::from(number()? as u8)),
        "err" => Err("the app's own reason".into()),
        "thread" => {
            let code = number()?;
            thread::spawn(move || process::exit(code)).join().unwrap()
        }
        other => Err(other.into()),
    }
}
