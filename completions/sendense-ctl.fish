complete --keep-order --exclusive --command sendense-ctl --arguments "(COMPLETE=fish sendense-ctl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
