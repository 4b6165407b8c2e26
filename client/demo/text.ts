/** What the demo streams when it is given no input: litetopic in its own words. */

export const OWN_TEXT = `\
You are reading a token stream. An agent publishes it a few words at a time, the way a model would, and a reader in \
another process receives it through a broker. While you read, two of the three will be killed. You should not notice, \
and that is the point.

Think of an agent that answers a support ticket. It reads the history, looks up an order, calls two tools, and writes \
for a minute or more. The customer watches on a train. The tunnel comes, the connection drops, the page is reloaded on \
another device. Meanwhile you deploy a new version, and the process that was in the middle of a sentence is gone. \
What should the customer see? The sentence, and then the rest of it, once.

This is hard to get right with the usual pieces. A publish and subscribe server forgets what nobody heard. A database \
remembers everything, but somebody has to poll it, page it and clean it up. Server-sent events stop with the process \
that sends them. So people glue the three together, and the seams show: a token twice after a reload, a tool that runs \
a second time, an answer that stays "generating" for ever because the process that should have said "done" is dead.

litetopic is one small broker built for exactly this. Every session gets its own lite topic: one log, strictly \
ordered and durable. It comes into being when it is first used. While nobody uses it, it costs a little disk and \
nothing else: no memory, no timer, no open file. A million of them can sleep in one directory. When the session is \
over, the topic goes, and the disk space comes back.

Everything that happens in the session is a record in that log. A message is a record. A token is a record, and \
belongs to a stream with an id, and to a part of it: the text, the reasoning, the arguments of a tool call. A \
checkpoint is a record: a name, and whatever state your agent needs to go on. The end of a stream is a record too, in \
the same log as its tokens, so nobody can see the one without the other.

Because offsets in a log have no gaps, a reader always knows what it has. It keeps a cursor, and a cursor is enough: \
after a reload, a lost network or a crash it asks for what comes after. It gets precisely that, first what it missed, \
in long runs rather than thousands of tiny events, then the live tokens, one by one. Should the broker be unable to \
give precisely that, because the log was trimmed or the topic deleted, it says so. A reader never crosses a hole \
without knowing.

Because writers are numbered, a writer always knows what is stored. Each append carries a sequence. An agent that lost \
its connection sends again whatever was not acknowledged, and the broker stores it once, however often it comes. And \
if the agent itself is gone, the next one asks: what was my last checkpoint, and which text of this stream is already \
durable? Then it takes over the stream, shuts out the old writer should it come back from the dead, and goes on with \
the very next token. That has just happened, or is about to, somewhere in these lines.

Acknowledged means on disk. The broker writes one journal entry for many topics at once and waits for the disk before \
it says yes, so a killed broker loses nothing that it has promised. It starts again in the time it takes to read that \
journal, no matter how many topics it keeps. Its clients notice the silence, wait a moment, and come back on their own.

Stopping is a record as well. A closed tab does not stop an answer, and a stop is not lost because a tab was closed. \
Press the button, and the stream ends for everyone, in the same place.

There is no cluster to run, and no second server. One process, one directory, one library with a handful of verbs: \
open a session, append, generate, checkpoint, resume. The rest is what you have been watching: things break, the text \
arrives, every token once, in order. If a single byte were missing, the next lines would say so, and this program \
would exit with an error. Please check.
`
