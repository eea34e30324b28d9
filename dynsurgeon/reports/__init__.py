"""One self-contained HTML page about a directory that `convert` or `finetune` wrote."""
