package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func dataCommand() *cobra.Command {
	var since, to timeFlag
	var oldest bool
	var limit int
	var prefix string
	cmd := deviceVerb(&cobra.Command{
		Use:     "data DEVICE [CHANNEL]",
		Short:   "Show what a device has sent: its channels with the newest value of each, or the values of one",
		Long:    `Without a channel: the channels of a device, each with its newest value. With one: its values, the newest first.`,
		Example: "  fairlead data 2TBn-jNESuuHamE2Zo1anA\n  fairlead data astarte/dev/2TBn-jNESuuHamE2Zo1anA org.example.Temps:1/room1/temp --since 1h --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly("DEVICE")(cmd, args)
			}
			return atMost(2)(cmd, args)
		},
	}, func(s *session, k admin.DeviceKey, rest []string) error {
		if len(rest) == 0 {
			return showChannels(s, k, prefix, limit)
		}
		return showSamples(s, k, admin.SampleQuery{Channel: rest[0], Since: since.Time, To: to.Time, Backwards: !oldest}, limit)
	})
	fl := cmd.Flags()
	fl.Var(&since, "since", "only values of this time and later: 2006-01-02T15:04:05Z, or how long ago: 90m")
	fl.Var(&to, "to", "only values before this time")
	fl.BoolVar(&oldest, "oldest", false, "the oldest first")
	fl.StringVar(&prefix, "prefix", "", "only channels whose names begin so")
	limitFlag(cmd, &limit, 100)
	return cmd
}

func showChannels(s *session, k admin.DeviceKey, prefix string, limit int) error {
	list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Channel], error) {
		return s.client.Channels(s.ctx, k, prefix, limit, cursor)
	})
	if err != nil {
		return err
	}
	return s.show(list, func(t *table) {
		switch {
		case len(list) == 0 && prefix != "":
			t.row(fmt.Sprintf("nothing is stored of %s in a channel whose name begins with %q", k, prefix))
			return
		case len(list) == 0:
			t.row(fmt.Sprintf("nothing that %s has sent is stored yet; see also fairlead device documents %s", k, shellWord(k.String())))
			return
		}
		t.row("CHANNEL", "LAST", "VALUE")
		for _, c := range list {
			at, value := "-", "-"
			if c.Last != nil {
				at, value = when(c.Last.At), valueText(c.Last.Value)
			}
			t.row(c.Channel, at, value)
		}
		t.more(more, limit)
	})
}

func showSamples(s *session, k admin.DeviceKey, q admin.SampleQuery, limit int) error {
	list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Sample], error) {
		q.Limit, q.Cursor = limit, cursor
		return s.client.Samples(s.ctx, k, q)
	})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		if err := s.hasChannel(k, q.Channel); err != nil {
			return err
		}
	}
	return s.show(list, func(t *table) {
		if len(list) == 0 {
			t.row("nothing is stored of that time")
			return
		}
		t.row("AT", "RECEIVED", "VALUE")
		for _, x := range list {
			t.row(when(x.At), when(x.Received), valueText(x.Value))
		}
		t.more(more, limit)
	})
}

// hasChannel fails for a channel that a device has never sent to.
func (s *session) hasChannel(k admin.DeviceKey, channel string) error {
	page, err := s.client.Channels(s.ctx, k, channel, 1, "")
	if err != nil || len(page.Items) > 0 && page.Items[0].Channel == channel {
		return err
	}
	if page, err = s.client.Channels(s.ctx, k, "", candidates+1, ""); err != nil {
		return err
	}
	if len(page.Items) == 0 {
		return fmt.Errorf("channel %q: %s has never sent anything that is stored", channel, k)
	}
	var list []quoted
	for _, c := range page.Items {
		list = append(list, quoted(c.Channel))
	}
	return fmt.Errorf("channel %q: %s has none of that name; there is: %s", channel, k, names(list))
}

// quoted is a name that the shell takes as it is printed.
type quoted string

func (q quoted) String() string { return shellWord(string(q)) }
