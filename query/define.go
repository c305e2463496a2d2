package query

import (
	"slices"
	"strings"

	"wend/event"
)

// CheckDefine checks a define statement against a store: its name, all that
// its body names, cycles, and what a change would break. It returns what the
// store keeps, and warnings. Whether it replaces a definition is for the store
// to say.
func CheckDefine(s *Statement, c *Catalog) (event.Definition, []string, error) {
	d := s.Define
	def := event.Definition{Kind: d.Kind, Name: d.Name.Text, Text: s.String()}
	b := newBinder(c.with(def))
	b.source = s.source
	b.checkName(d, c)
	b.checkBody(d)
	if len(b.errs) == 0 {
		b.checkUsers(d, c, def)
	}
	if err := b.err(); err != nil {
		return event.Definition{}, nil, err
	}
	return def, b.warnings, nil
}

// CheckDrop checks a drop statement: the definition exists, and no other uses it.
func CheckDrop(s *Statement, c *Catalog) (name string, err error) {
	b := newBinder(c)
	b.source, b.lenient = s.source, false
	n := *s.Drop
	if _, ok := c.definition(n.Text); !ok {
		b.unknown(n.Span, CodeUnknownDefinition, "definition", n.Text, named(c.names()...))
		return "", b.err()
	}
	if users := c.users(n.Text); len(users) > 0 {
		b.fail(n.Span, CodeInUse, "drop or change "+them(users)+" first", "%q is used by %s", n.Text, quoted(users))
	}
	return n.Text, b.err()
}

// with is the catalogue after a definition is made.
func (c *Catalog) with(d event.Definition) *Catalog {
	after := *c
	after.Definitions = slices.DeleteFunc(slices.Clone(c.Definitions), func(old event.Definition) bool { return old.Name == d.Name })
	after.Definitions = append(after.Definitions, d)
	return &after
}

// checkName refuses the name of an event, and for a group that of a channel.
// An event that came after the definition does not keep it from being changed.
func (b *binder) checkName(d *Definition, c *Catalog) {
	if _, again := c.definition(d.Name.Text); again {
		return
	}
	if _, taken := c.Schema.Event(d.Name.Text); taken {
		b.fail(d.Name.Span, CodeNameTaken, "choose another name", "%q is the name of an event", d.Name.Text)
	}
	if _, taken := c.Schema.Channel(d.Name.Text); taken && d.Kind == "channels" {
		b.fail(d.Name.Span, CodeNameTaken, "choose another name", "%q is the name of a channel", d.Name.Text)
	}
}

// checkBody binds the body of a definition. Its own name is among those being
// expanded, so that a cycle through it is found; its mistakes are where they are.
func (b *binder) checkBody(d *Definition) {
	b.parsed[d.Name.Text] = d
	b.using = []string{d.Name.Text}
	b.used = map[string]bool{}
	switch d.Kind {
	case "touchpoint", "stage":
		b.alt(&Alt{Span: d.Span, Touches: d.Touches, Grouped: len(d.Touches) > 1})
	case "channels":
		b.checkChannels(d)
	case "segment":
		b.cohort(d.Cohort)
	case "funnel":
		b.funnel(d.Pattern, d.Options)
	}
}

// checkChannels checks the members of a group: channels, each once. A channel
// in two groups has no channel_group.
func (b *binder) checkChannels(d *Definition) {
	for i, n := range d.Channels {
		def, defined := b.cat.definition(n.Text)
		_, known := b.cat.Schema.Channel(n.Text)
		switch {
		case n.Text == d.Name.Text && !known:
			b.fail(n.Span, CodeCycle, "", "the definition uses itself: %s -> %s", n.Text, n.Text)
		case defined && def.Kind == "channels" && !known:
			b.fail(n.Span, CodeWrongKind, "name its channels", "%q is a group of channels; groups do not nest", n.Text)
		case !known || n.Text == "":
			b.unknown(n.Span, CodeUnknownChannel, "channel", n.Text, b.cat.channelNames())
		}
		if slices.ContainsFunc(d.Channels[:i], func(m Name) bool { return m.Text == n.Text }) {
			b.fail(n.Span, CodeDuplicateName, "", "the channel %q is named twice", n.Text)
		}
		for _, group := range b.cat.names("channels") {
			other, ok := b.definition(Name{Span: n.Span, Text: group})
			if ok && other != d && slices.Contains(nameTexts(other.Channels), n.Text) {
				b.warn("channel %q is also in %q, so its channel_group is in doubt", n.Text, group)
			}
		}
	}
}

// checkUsers binds what uses a definition that is to be replaced, directly or
// through others, with the new one in its place.
func (b *binder) checkUsers(d *Definition, before *Catalog, def event.Definition) {
	if _, ok := before.definition(def.Name); !ok {
		return
	}
	var broken []string
	why := ""
	for _, name := range before.allUsers(def.Name) {
		user := newBinder(b.cat)
		body, ok := user.definition(Name{Text: name})
		if !ok {
			continue
		}
		user.checkBody(body)
		if len(user.errs) > 0 {
			broken = append(broken, name)
			if why == "" {
				why = user.errs[0].Message
			}
		}
	}
	if len(broken) > 0 {
		b.fail(d.Name.Span, CodeInUse, "drop or change "+them(broken)+" first", "%q is used by %s, where it would be wrong: %s", def.Name, quoted(broken), why)
	}
}

// uses notes a definition that is named by the body being checked itself.
func (b *binder) uses(n Name) {
	if b.used != nil && len(b.using) == 1 {
		b.used[n.Text] = true
	}
}

// usage lists, for every definition, those whose text names it.
func (c *Catalog) usage() map[string][]string {
	users := map[string][]string{}
	parsed := map[string]*Definition{} // once, not once for each that uses it
	for _, d := range c.Definitions {
		b := newBinder(c)
		b.parsed = parsed
		body, ok := b.definition(Name{Text: d.Name})
		if !ok {
			continue
		}
		b.checkBody(body)
		for name := range b.used {
			if name != d.Name {
				users[name] = append(users[name], d.Name)
			}
		}
	}
	return users
}

// users lists the definitions whose text names this one.
func (c *Catalog) users(name string) []string { return c.usage()[name] }

// allUsers lists those who use a definition, and who use them.
func (c *Catalog) allUsers(name string) []string {
	users := c.usage()
	found := []string{name}
	for i := 0; i < len(found); i++ {
		for _, user := range users[found[i]] {
			if !slices.Contains(found, user) {
				found = append(found, user)
			}
		}
	}
	return found[1:]
}

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

func them(names []string) string {
	if len(names) == 1 {
		return "it"
	}
	return "them"
}
