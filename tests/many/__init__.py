"""The sessions of many keys in one program: `open_sessions`.

``world``             fakes whose tokens say whose they are, and short names
``test_use``          opening, sharing, closing; what is wrong with a key
``test_idle``         when a session is dropped, and what is left of it (P33)
``test_isolation``    nothing of one key goes along with a request of another (P30)
``test_attached``     one client of the program for many keys
``test_crowds``       many keys that need a refresh at once; what grows with their number (P34)
``test_following``    hints of the store about what other programs save
``test_by_key``       log-ins, log-outs, events and words, by key
``test_ledger``       any order of everything, against what the server saw
"""
