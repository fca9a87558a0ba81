package demo

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// house is the little world that the devices live in. Its methods may be called from any goroutine; times never go backwards.
type house struct {
	mu     sync.Mutex
	rooms  map[string]*room
	target float64 // what the heating keeps in the living room
	open   bool    // the door
	moved  time.Time
	bulb   int     // per cent
	speed  float64 // of the fan, per cent, when it does not purge the air
	purges bool
	co2    float64 // ppm
	wear   float64
}

// room is a room: its temperature swings with the day around a mean, and breathes a little.
type room struct {
	mean, swing float64
	humid       float64
	now         float64 // temperature
	drift       float64
	at          time.Time
}

const livingRoom = "living-room"

// defaultTarget is kept when nobody wants anything else.
const defaultTarget = 20

func newHouse(at time.Time) *house {
	h := &house{target: defaultTarget, moved: at, speed: 20, co2: 700, rooms: map[string]*room{
		"kitchen":  {mean: 21, swing: 1.5, humid: 48},
		livingRoom: {mean: defaultTarget, swing: 0.8, humid: 44},
		"cellar":   {mean: 12.5, swing: 0.3, humid: 67},
	}}
	for _, r := range h.rooms {
		r.at, r.now = at, r.wanted(at)
	}
	return h
}

// day is -1 in the coldest hour, three in the morning, and 1 twelve hours later.
func day(at time.Time) float64 {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	return math.Cos(2 * math.Pi * (hour - 15) / 24)
}

// wanted is where the temperature goes.
func (r *room) wanted(at time.Time) float64 { return r.mean + r.swing*day(at) }

// A room comes near to where its temperature goes in some minutes, so that one sees it happen, and with an error that is never far from the one before.
const inertia = 3 * time.Minute

func (r *room) step(at time.Time) {
	d := at.Sub(r.at)
	if d <= 0 {
		return
	}
	r.at = at
	r.now += (r.wanted(at) - r.now) * (1 - math.Exp(-d.Seconds()/inertia.Seconds()))
	r.drift = 0.95*r.drift + 0.05*rand.NormFloat64()
}

// climate returns a room's temperature in degrees Celsius and its humidity in per cent.
func (h *house) climate(name string, at time.Time) (temperature, humidity float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[name]
	r.step(at)
	return round(r.now+r.drift, 2), round(r.humid-2*(r.now-r.mean)+5*r.drift, 1)
}

// past returns what a room was like some time ago.
func (h *house) past(name string, at time.Time) (temperature, humidity float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[name]
	noise := 0.1 * rand.NormFloat64()
	return round(r.wanted(at)+noise, 2), round(r.humid-2*r.swing*day(at)+5*noise, 1)
}

// heat sets the temperature that the heating keeps.
func (h *house) heat(target float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.target = min(max(target, 5), 30)
	h.rooms[livingRoom].mean = h.target
}

// heating returns what the heating keeps, and how far its valve is open, in per cent.
func (h *house) heating(at time.Time) (target, valve float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[livingRoom]
	r.step(at)
	return h.target, math.Round(min(max(30+40*(r.wanted(at)-r.now), 0), 100))
}

// pump returns speed, vibration and the temperature of the bearing, which slowly wears out and is replaced.
func (h *house) pump(time.Time) (speed, vibration, bearing float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wear += 0.001 * rand.Float64(); h.wear > 1 {
		h.wear = 0
	}
	speed = 1450 + 4*rand.NormFloat64()
	vibration = 1.4 + 3*h.wear*h.wear + 0.15*math.Abs(rand.NormFloat64())
	return round(speed, 1), round(vibration, 3), round(46+12*h.wear+0.3*rand.NormFloat64(), 2)
}

// door tells whether the door is open, and whether it has moved: it opens now and then, and somebody shuts it soon.
func (h *house) door(at time.Time) (open, moved bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := 20 * time.Second
	if h.open {
		wait = 5 * time.Second
	}
	if at.Sub(h.moved) < wait || rand.IntN(3) > 0 {
		return h.open, false
	}
	h.open, h.moved = !h.open, at
	return h.open, true
}

// light sets the lamp, in per cent, and returns what it is.
func (h *house) light(percent int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bulb = min(max(percent, 0), 100)
	return h.bulb
}

// fan sets the fan's speed, in per cent, unless that is negative, and returns how fast it turns.
func (h *house) fan(speed float64) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if speed >= 0 {
		h.speed = min(speed, 100)
	}
	return h.turns()
}

// purge lets the fan turn as fast as it can, or as it is set.
func (h *house) purge(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.purges = on
}

// turns returns how fast the fan turns. The caller holds the lock.
func (h *house) turns() float64 {
	if h.purges {
		return 100
	}
	return h.speed
}

// air returns how much carbon dioxide is in the air, which people breathe out and the fan blows out, in ppm, and the fan's speed.
func (h *house) air() (co2, speed float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.co2 += 4 + rand.NormFloat64() - (h.co2-420)*h.turns()/1500
	h.co2 = min(max(h.co2, 420), 3000)
	return math.Round(h.co2), h.turns()
}

func round(v float64, digits int) float64 {
	f := math.Pow10(digits)
	return math.Round(v*f) / f
}
