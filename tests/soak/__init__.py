"""The soak: sessions on real sockets, for minutes or a night, while everything goes wrong.

``python -m tests.soak --minutes 10`` starts an authorization server in a process of its own
(`server`), some sessions with hundreds of tasks in this one (`member`), and one more session in a
third (`sharer`), which has its tokens in the same file. The server errs at random; tasks are
cancelled at random; logins end and begin. At the same time it is measured what this process holds
(`measures`), and at the end the promises are checked (`report`).
"""
