package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
)

// fan is a device on the SDK for AWS IoT.
type fan struct {
	site    *site
	client  *awsiot.Client
	changed chan struct{} // the shadow may have
}

// look makes the fan look at its shadow.
func (f *fan) look() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// run runs the device, and lets it work, until ctx ends or one of both fails.
func (f *fan) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, part := range []func(context.Context) error{f.client.Run, f.work, f.jobs} {
		running.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				cancel(err) // the first one that fails stops the others
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// work follows the shadow, and sends at each interval, until ctx ends.
func (f *fan) work(ctx context.Context) error {
	shadow := f.client.Shadow("")
	if _, err := shadow.OnDelta(ctx, func(*awsiot.ShadowDelta) { f.look() }); err != nil {
		return err
	}
	tick := time.NewTicker(f.site.interval)
	defer tick.Stop()
	again := false // the last look has failed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.changed:
			err := f.follow(ctx, shadow)
			again = errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, fairlead.ErrThrottled)
			if err != nil && !again {
				return err
			}
		case <-tick.C:
			if again {
				f.look()
			}
			co2, speed := f.site.house.air()
			payload, err := json.Marshal(map[string]float64{"co2": co2, "speed": speed})
			if err == nil {
				err = f.client.Enqueue(ctx, "dt/"+fanThing+"/air", awsiot.AtLeastOnce, payload, nil)
			}
			if err != nil && !errors.Is(err, fairlead.ErrUnavailable) {
				return err
			}
		}
	}
}

// fanState is the fan as its shadow has it.
type fanState struct {
	Speed float64 `json:"speed"` // per cent
}

// speedIn returns the speed that a section of the shadow has, or -1 if there is none that a fan could have.
func speedIn(section json.RawMessage) float64 {
	state := fanState{-1}
	if json.Unmarshal(section, &state) != nil {
		return -1
	}
	return max(state.Speed, -1)
}

// follow turns the fan as fast as is desired, and reports that.
func (f *fan) follow(ctx context.Context, shadow *awsiot.Shadow) error {
	doc, err := shadow.Get(ctx)
	switch {
	case errors.Is(err, fairlead.ErrNotFound):
		doc = &awsiot.ShadowDocument{}
	case err != nil:
		return err
	}
	now := f.site.house.fan(speedIn(doc.Desired))
	if now == speedIn(doc.Reported) {
		// To report once more what is reported would go on for ever: a delta follows each update for as long as something else is desired, which may be what no fan can do.
		return nil
	}
	_, err = shadow.Report(ctx, fanState{now}, nil)
	return err
}

// jobs does the jobs that the fan is given, until ctx ends.
func (f *fan) jobs(ctx context.Context) error { return f.client.Jobs().Run(ctx, f.do, nil) }

// purgeSteps is how many intervals the air is purged for.
const purgeSteps = 4

// do is what the fan does about a job: a purge is turning as fast as it can for a while, whatever its shadow desires.
func (f *fan) do(ctx context.Context, job *awsiot.Job) (map[string]string, error) {
	var order struct {
		Operation string `json:"operation"`
	}
	if json.Unmarshal(job.Document, &order) != nil || order.Operation != "purge" {
		return nil, fmt.Errorf("%w: a fan does nothing but {\"operation\": \"purge\"}", awsiot.ErrRejectJob)
	}
	f.purge(true)
	defer f.purge(false)
	tick := time.NewTicker(f.site.interval)
	defer tick.Stop()
	for step := range purgeSteps {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		if err := job.Progress(ctx, map[string]string{"progress": strconv.Itoa(100 * (step + 1) / purgeSteps)}); err != nil {
			return nil, err
		}
	}
	co2, _ := f.site.house.air()
	return map[string]string{"co2": strconv.FormatFloat(math.Round(co2), 'f', -1, 64)}, nil
}

// purge begins or ends it; the shadow tells how fast the fan turns then.
func (f *fan) purge(on bool) {
	f.site.house.purge(on)
	f.look()
}
