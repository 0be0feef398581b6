//! The script for bash. Bash breaks a word at `@`, `=` and `:`, which addresses, tags and URIs contain, and
//! takes candidates as they are, blanks included. So the script puts together what touches on the line, asks
//! with that, takes what bash has put aside off the front of each answer, and quotes it. (`$2` is what bash will
//! replace: it begins at a `@` but behind a `=`.)

use clap_complete::env::{Bash, EnvCompleter};
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// bash, with whole words.
pub struct WholeWords;

const SCRIPT: &str = r#"_sendense_ctl() {
    local IFS=$'\013' line="${COMP_LINE:0:COMP_POINT}" word rest words=() i
    rest="$line"
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        # The word under the cursor reaches to the cursor.
        if ((i == COMP_CWORD)); then word="${rest#"${rest%%[![:space:]]*}"}"; fi
        if ((i > 0)) && [[ -n "$rest" && "$rest" != [[:space:]]* ]]; then
            words[${#words[@]}-1]+="$word"
        else
            rest="${rest#"${rest%%[![:space:]]*}"}"
            words+=("$word")
        fi
        rest="${rest#"$word"}"
    done
    local last=$((${#words[@]} - 1))
    local aside="${words[last]%"$2"}"
    # Names have no quotes; an open one is bash's to close.
    local open="${words[last]:0:1}"
    words[last]="${words[last]//[\\\"\']/}"
    aside="${aside//[\\\"\']/}"
    local candidates=( $( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$last" \
        _CLAP_COMPLETE_COMP_TYPE="${COMP_TYPE}" \
        _CLAP_COMPLETE_SPACE=false \
        VARIABLE="bash" \
        "PROGRAM" -- "${words[@]}" 2>/dev/null \
    ) )
    COMPREPLY=()
    for word in "${candidates[@]}"; do
        word="${word#"$aside"}"
        if [[ "$open" != [\"\'] ]]; then printf -v word '%q' "$word"; fi
        # What a shell quotes and never has to in the middle of a word.
        COMPREPLY+=("${word//\\~/~}")
    done
    compopt +o nospace 2>/dev/null
    if [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o nospace -o bashdefault -o nosort -F _sendense_ctl NAME 2>/dev/null ||
    complete -o nospace -o bashdefault -F _sendense_ctl NAME
"#;

impl EnvCompleter for WholeWords {
    fn name(&self) -> &'static str {
        Bash.name()
    }

    fn is(&self, name: &str) -> bool {
        Bash.is(name)
    }

    fn write_registration(
        &self,
        variable: &str,
        _name: &str,
        program_name: &str,
        program: &str,
        out: &mut dyn io::Write,
    ) -> io::Result<()> {
        let escaped: String = program
            .chars()
            .flat_map(|c| matches!(c, '"' | '\\' | '$' | '`').then_some('\\').into_iter().chain([c]))
            .collect();
        let script =
            SCRIPT.replace("VARIABLE", variable).replace("PROGRAM", &escaped).replace("NAME", program_name);
        out.write_all(script.as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        out: &mut dyn io::Write,
    ) -> io::Result<()> {
        Bash.write_complete(command, words, folder, out)
    }
}
