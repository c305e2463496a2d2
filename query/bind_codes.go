package query

// Codes of the mistakes that Bind, CheckDefine and CheckDrop find. They are
// stable: programs may test for them.
const (
	CodeUnknownEvent        = "unknown_event"
	CodeUnknownChannel      = "unknown_channel"
	CodeUnknownProperty     = "unknown_property"
	CodeUnknownDefinition   = "unknown_definition"
	CodeUnknownName         = "unknown_name" // describe
	CodeUnknownStep         = "unknown_step"
	CodeUnknownColumn       = "unknown_column" // order by
	CodeUnknownFunction     = "unknown_function"
	CodeUnknownMeasure      = "unknown_measure"
	CodeUnknownModel        = "unknown_model"
	CodeUnknownTimezone     = "unknown_timezone"
	CodeWrongKind           = "wrong_kind" // a segment where an event is needed, say
	CodeAmbiguousName       = "ambiguous_name"
	CodeDuplicateName       = "duplicate_name"
	CodeTypeMismatch        = "type_mismatch"
	CodeWrongArguments      = "wrong_arguments"
	CodeNotAnAggregate      = "not_an_aggregate"      // one event's field among the outputs of measure
	CodeAggregateNotAllowed = "aggregate_not_allowed" // sum(x) outside them
	CodeClauseNotAllowed    = "clause_not_allowed"
	CodeDuplicateClause     = "duplicate_clause"
	CodeMissingClause       = "missing_clause"
	CodeBadCombination      = "bad_combination" // clauses that do not go together
	CodeBadPattern          = "bad_pattern"
	CodeBadField            = "bad_field"
	CodeBadRange            = "bad_range"
	CodeBadDuration         = "bad_duration"
	CodeBadRegexp           = "bad_regexp"
	CodeBadRepeat           = "bad_repeat"
	CodeMissingParameter    = "missing_parameter"
	CodeBadParameter        = "bad_parameter"
	CodeTooManySteps        = "too_many_steps"
	CodeTooManyAlternatives = "too_many_alternatives"
	CodeTooManyValues       = "too_many_values"
	CodeBadDefinition       = "bad_definition"
	CodeCycle               = "cycle"
	CodeInUse               = "in_use"
	CodeNameTaken           = "name_taken"
	CodeTooDeep             = "too_deep" // definitions that use definitions
)
