_sendense_ctl() {
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
        COMPLETE="bash" \
        "sendense-ctl" -- "${words[@]}" 2>/dev/null \
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
complete -o nospace -o bashdefault -o nosort -F _sendense_ctl sendense-ctl 2>/dev/null ||
    complete -o nospace -o bashdefault -F _sendense_ctl sendense-ctl
