package trust

// Promise is one thing that users may rely on.
type Promise struct {
	Name  string // "P1", what report lines begin with
	Title string // in users' words
	Text  string // what is promised
	How   string // the command that shows it
}

// Section is a heading of the page and the promises under it.
type Section struct {
	Title    string
	Promises []Promise
}

// Sections lists all promises in the order in which they are shown. A promise
// that no line tells of is shown as such.
var Sections = []Section{
	{"What is acknowledged stays", []Promise{
		{"P1", "Durability by choice", "what was acknowledged as `sync` survives a power failure, as `interval` the end of the process", "go test ./storage -run Sim; go test ./internal/trials -run 'Kill|Power'"},
		{"P2", "Atomic batches", "a batch is there whole or not at all", "go test ./storage -run 'SimCrashes|LargeBatches'; go test ./internal/trials -run 'Kill|Power'"},
		{"P3", "Exactly-once effect", "a batch or an event sent again changes nothing", "go test ./storage ./client -run 'Sim|Token|Again'; go test ./internal/trials -run Kill; go test ./internal/soak -run Resend"},
		{"P4", "Snapshots", "an answer is computed over one state of the store", "WEND_CONCURRENT=2m go test -race ./storage -run Concurrent; go test ./storage -run 'WholeBatches|Sim'"},
		{"P9", "One writer", "a second writer is refused and changes nothing", "go test ./internal/trials -run Writer"},
		{"P17", "Clean stop and start", "a stopped store opens without replaying anything, and opening writes nothing", "go test ./server ./storage -run 'Stop|OpeningWritesNothing|Sim'; go test ./internal/trials -run 'Stop|Kill'"},
	}},
	{"What is damaged is not believed", []Promise{
		{"P5", "Everything read is checked", "any changed byte is found", "go test ./storage -run SimFlips"},
		{"P6", "Damage is set aside", "the rest answers, and what is missing is named", "go test ./storage ./engine -run 'Damage|Quarantine|Repair'"},
		{"P7", "A torn log is not a damaged log", "a write that was interrupted loses nothing acknowledged; damage is reported", "go test ./storage -run 'Log|Hole'"},
		{"P8", "Full and failing disks", "a clear error, no false acknowledgement, reads go on, recovery by itself", "go test ./storage -run 'Fault|Fail|ErrorReturns'; go test ./internal/trials -run 'Inject|Full|Descriptors|FileSize'"},
		{"P13", "Format versions", "stores of every version are read for ever; a newer one is refused untouched", "go test ./storage -run 'Version|NewerFormat|FormatStays'; go test ./cmd/wend -run Golden"},
		{"P14", "Backup and restore", "online, whole, and verified", "go test ./storage -run 'Backup|Restore'"},
	}},
	{"What is taken out is gone", []Promise{
		{"P10", "Erasure", "a customer's bytes are nowhere, and never come back", "go test ./storage -run Eras"},
		{"P11", "Retention", "what is too old goes, and nothing else", "go test ./storage -run Retention"},
	}},
	{"Answers are right", []Promise{
		{"P12", "Clocks and late events", "order and answers do not depend on when events arrive", "go test ./internal/randtest"},
		{"P15", "Compaction changes no answer", "whatever the segments, the answer is the same", "go test ./internal/randtest ./storage"},
		{"P16", "Answers are those of the definition", "a slow, obvious evaluator agrees", "go test ./internal/randtest"},
		{"2.3", "Hostile statements end in an error", "limits on time, memory and size hold", "go test ./engine ./server -run Limit; make hostile"},
	}},
	{"Who may do what", []Promise{
		{"S1", "Loopback by default", "an open address needs tokens and TLS", "go test ./server ./cmd/wend -run 'Listened|Stories'"},
		{"S2", "Foreign hosts and origins", "are refused", "go test ./server -run 'Host|Origin'"},
		{"S3", "Tokens and scopes", "each route wants its scope", "go test ./server ./access -run 'Who|Token|Flipped'"},
		{"S4", "Unknown and wrong tokens are alike", "in time, words and work", "go test ./access -run 'Secrets|Shown'"},
		{"S5", "TLS", "1.2 or newer, reloaded without a restart", "go test ./server -run 'TLS|Certificate|Reloads'"},
		{"S6", "Bodies", "are bounded as sent and as unpacked", "go test ./server -run 'Body|Bodies|Bombs'"},
		{"S7", "Events", "are bounded in size, number and depth", "go test ./server ./ingest -run Limits"},
		{"S8", "Slow clients", "cannot hold the server", "go test ./server -run 'Slow|Newcomers'"},
		{"S9", "Rate limits", "a greedy client does not starve others", "go test ./server -run 'Greedy|Rate|Buckets|ManyTokens'"},
		{"S10", "No path comes from a request", "files outside the store are never touched", "go test ./internal/trials -run Paths"},
		{"S11", "No personal data in logs", "nor in errors and metrics", "go test ./server -run 'Logged|Shapes'"},
		{"S12", "Metrics and profiles need their scope", "health shows nothing", "go test ./server -run 'Who|OpenRoutes'"},
		{"S13", "No request ends the process", "panics are contained", "go test ./server ./storage -run Panics"},
		{"S15", "Files are their owner's", "0600 and 0700; no outgoing connection", "go test ./internal/trials -run Paths"},
	}},
	{"The tests themselves", []Promise{
		{"2.4", "The tests find bugs", "each of the bugs below was built in, and a test failed; what reads files and texts is fuzzed; many clients load a server for long, and every answer is checked", "make seeded seeded-storage fuzz; make soak"},
	}},
}
