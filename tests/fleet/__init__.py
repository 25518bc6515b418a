"""The fleet: processes that share logins, and are killed, ended and stopped at random.

``python -m tests.fleet --store sqlite --seconds 60`` starts an authorization server in a process of
its own (`server`), eight workers (`worker`) that share one store, and disturbs them (`run`). Access
tokens live two seconds; a refresh token that is presented twice ends its login.

Each worker notes on a pipe what it is about to do and what it has done (`notes`): a note that was
written outlives SIGKILL. At the end the notes are compared with the ledger of the server
(`account`): which refresh tokens were presented twice, and which had to be, because a process was
killed between rotation and save, or was stopped for longer than its lease. The two must be equal.

`hosts` is about two hosts, network namespaces, around one Redis server, whose link is cut.
"""
