// Codes many words with klauspost/reedsolomon on one core: one call per word.
//
//	peer encode K N SYMBOL_BYTES WORDS REPEATS      prints the CPU seconds of the fastest repeat
//
// Up to 256 symbols it is its matrix code over GF(2^8), beyond that its transform over GF(2^16).
package main

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"syscall"

	"github.com/klauspost/reedsolomon"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Sec+usage.Stime.Sec) + float64(usage.Utime.Usec+usage.Stime.Usec)/1e6
}

func main() {
	var numbers []int
	for _, argument := range os.Args[2:] {
		number, err := strconv.Atoi(argument)
		check(err)
		numbers = append(numbers, number)
	}
	k, n, size, count, repeats := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
	coder, err := reedsolomon.New(k, n-k, reedsolomon.WithMaxGoroutines(1))
	check(err)
	memory := make([]byte, n*size*count)
	rand.New(rand.NewSource(1)).Read(memory)
	words := make([][][]byte, count)
	for word := range words {
		words[word] = make([][]byte, n)
		for index := range words[word] {
			start := (word*n + index) * size
			words[word][index] = memory[start : start+size : start+size]
		}
	}
	best := 1e9
	for i := 0; i <= repeats; i++ {
		start := cpuSeconds()
		for _, word := range words {
			check(coder.Encode(word))
		}
		if taken := cpuSeconds() - start; i > 0 && taken < best {
			best = taken
		}
	}
	fmt.Println(best)
}
