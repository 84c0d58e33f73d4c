package browser

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"slices"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Shot is a picture of the whole page as a small PNG, at most so many pixels high.
func (t *Tab) Shot(mostHigh int) ([]byte, error) {
	size, err := evaluate[[]float64](t.ctx, `[window.innerWidth, document.documentElement.scrollHeight]`)
	if err != nil {
		return nil, err
	}
	beyond := true
	shot, err := chromedp.Call(t.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &beyond,
		Clip: &page.Viewport{Width: size[0], Height: min(size[1], float64(mostHigh)), Scale: 1},
	})
	if err != nil {
		return nil, fmt.Errorf("taking a picture: %w", err)
	}
	return smaller(shot.Data)
}

// smaller writes a PNG with a palette where its colours allow it, and as tightly as the format can.
func smaller(raw []byte) ([]byte, error) {
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("reading a picture: %w", err)
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, paletted(picture)); err != nil {
		return nil, fmt.Errorf("writing a picture: %w", err)
	}
	return out.Bytes(), nil
}

// paletted keeps the 256 colours that are there most; a page has few besides, where its letters have soft edges.
func paletted(picture image.Image) image.Image {
	counts := map[color.RGBA]int{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	small := image.NewPaletted(bounds, most(counts, 256))
	draw.Draw(small, bounds, picture, bounds.Min, draw.Src)
	return small
}

func most(counts map[color.RGBA]int, n int) color.Palette {
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	palette := make(color.Palette, 0, n)
	for _, c := range colours[:min(n, len(colours))] {
		palette = append(palette, c)
	}
	return palette
}
